/*-
 * SPDX-License-Identifier: BSD-2-Clause
 *
 * Our own: ported code is compiled with -nostdinc.
 */

#ifndef _STDDEF_H_
#define _STDDEF_H_

typedef __SIZE_TYPE__ size_t;
typedef __PTRDIFF_TYPE__ ptrdiff_t;

#ifndef NULL
#define NULL ((void *)0)
#endif
#define offsetof(type, member) __builtin_offsetof(type, member)

#endif /* _STDDEF_H_ */
