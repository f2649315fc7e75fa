/*-
 * SPDX-License-Identifier: BSD-2-Clause
 *
 * The mapping that a unit is compiled for: -DLKPI_MAPPING=<name>. Functions whose body depends on it have its name
 * in theirs; so one program holds a driver once per mapping.
 */

#ifndef _LINUXKPI_MAPPING_H_
#define _LINUXKPI_MAPPING_H_

#ifndef LKPI_MAPPING
#error "compile with -DLKPI_MAPPING=<a mapping: see lkpi list>"
#endif

#define LKPI_CAT3(a, b, c) a##b##c
#define LKPI_NAME(mapping, f) LKPI_CAT3(lkpi_, mapping, _##f)
#define LKPI(f) LKPI_NAME(LKPI_MAPPING, f)

#define LKPI_STR1(s) #s
#define LKPI_STR(s) LKPI_STR1(s)
/* For messages. */
#define LKPI_MAPPING_NAME LKPI_STR(LKPI_MAPPING)

/* Which of Linux's variants of an operation is meant; linuxkpi::ffi knows the same numbers. */
#define LKPI_PLAIN 0
#define LKPI_BH 1
#define LKPI_IRQ 2
#define LKPI_IRQSAVE 3
#define LKPI_NESTED 4

/* Where an operation was written: FreeBSD's messages name it. */
#define LKPI_HERE __FILE__, __LINE__

#endif /* _LINUXKPI_MAPPING_H_ */
