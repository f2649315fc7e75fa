/*-
 * SPDX-License-Identifier: BSD-2-Clause
 *
 * sys/seqc.h: seqc(9). Calls where FreeBSD has inline functions, so that readers and writers are seen.
 */

#ifndef _SYS_SEQC_H_
#define _SYS_SEQC_H_

#include <sys/types.h>

typedef uint32_t seqc_t;

void lkpi_seqc_write_begin(seqc_t *, const char *, int);
void lkpi_seqc_write_end(seqc_t *, const char *, int);
void lkpi_seqc_sleepable_write_begin(seqc_t *, const char *, int);
void lkpi_seqc_sleepable_write_end(seqc_t *, const char *, int);
seqc_t lkpi_seqc_read(const seqc_t *);
seqc_t lkpi_seqc_read_any(const seqc_t *);
int lkpi_seqc_consistent(const seqc_t *, seqc_t, const char *, int);

#define SEQC_MOD 1
#define seqc_in_modify(seqc) (((seqc) & SEQC_MOD) != 0)
#define seqc_write_begin(seqcp) lkpi_seqc_write_begin((seqcp), __FILE__, __LINE__)
#define seqc_write_end(seqcp) lkpi_seqc_write_end((seqcp), __FILE__, __LINE__)
#define seqc_sleepable_write_begin(seqcp) lkpi_seqc_sleepable_write_begin((seqcp), __FILE__, __LINE__)
#define seqc_sleepable_write_end(seqcp) lkpi_seqc_sleepable_write_end((seqcp), __FILE__, __LINE__)
#define seqc_read(seqcp) lkpi_seqc_read(seqcp)
#define seqc_read_any(seqcp) lkpi_seqc_read_any(seqcp)
#define seqc_consistent(seqcp, old) (lkpi_seqc_consistent((seqcp), (old), __FILE__, __LINE__) != 0)

#endif /* _SYS_SEQC_H_ */
