/*-
 * SPDX-License-Identifier: BSD-2-Clause
 *
 * sys/smp.h: the CPUs, and smp_rendezvous().
 */

#ifndef _SYS_SMP_H_
#define _SYS_SMP_H_

#include <sys/cpuset.h>
#include <sys/pcpu.h>

/* Each machine has its own. */
cpuset_t lkpi_all_cpus(void);
int lkpi_mp_ncpus(void);
#define all_cpus lkpi_all_cpus()
#define mp_ncpus lkpi_mp_ncpus()
#define mp_maxid ((u_int)mp_ncpus - 1)
#define mp_ncores lkpi_mp_ncpus()
#define smp_cpus lkpi_mp_ncpus()
#define smp_started 1
/* All are there, from 0 on. */
#define CPU_ABSENT(i) ((u_int)(i) > mp_maxid)
#define CPU_FIRST() 0
#define CPU_NEXT(i) ((int)(((u_int)(i) + 1) % (mp_maxid + 1)))
#define CPU_FOREACH(i) for ((i) = 0; (i) <= (int)mp_maxid; (i)++)

void smp_no_rendezvous_barrier(void *);
void smp_rendezvous(void (*)(void *), void (*)(void *), void (*)(void *), void *);
void smp_rendezvous_cpus(cpuset_t, void (*)(void *), void (*)(void *), void (*)(void *), void *);
void smp_rendezvous_cpu(u_int, void (*)(void *), void (*)(void *), void (*)(void *), void *);

#endif /* _SYS_SMP_H_ */
