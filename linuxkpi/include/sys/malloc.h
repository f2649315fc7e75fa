/*-
 * SPDX-License-Identifier: BSD-2-Clause
 *
 * sys/malloc.h: malloc(9). A type is a name for messages.
 */

#ifndef _SYS_MALLOC_H_
#define _SYS_MALLOC_H_

#include <sys/systm.h>

#define M_NOWAIT 0x0001
#define M_WAITOK 0x0002
#define M_ZERO 0x0100

struct malloc_type {
	const char *ks_shortdesc;
};

#define MALLOC_DEFINE(type, shortdesc, longdesc)			\
	struct malloc_type type[1] __unused = { { (shortdesc) } }
#define MALLOC_DECLARE(type) extern struct malloc_type type[1]

/* Of the kernel. */
static const struct malloc_type M_TEMP[1] __unused = { { "temp" } };
static const struct malloc_type M_DEVBUF[1] __unused = { { "devbuf" } };

void *lkpi_malloc(size_t, const char *, int);
void lkpi_free(void *, const char *);
size_t lkpi_malloc_size(const void *);

#define malloc(size, type, flags) lkpi_malloc((size), (type)->ks_shortdesc, (flags))
#define free(at, type) lkpi_free((at), (type)->ks_shortdesc)
#define mallocarray(n, size, type, flags) lkpi_mallocarray((n), (size), (type)->ks_shortdesc, (flags))
#define realloc(at, size, type, flags) lkpi_realloc((at), (size), (type)->ks_shortdesc, (flags), 0)
#define reallocf(at, size, type, flags) lkpi_realloc((at), (size), (type)->ks_shortdesc, (flags), 1)
#define zfree(at, type) do {						\
	void *lkpi_at_ = (at);						\
									\
	if (lkpi_at_ != NULL)						\
		bzero(lkpi_at_, lkpi_malloc_size(lkpi_at_));		\
	free(lkpi_at_, (type));						\
} while (0)

static __inline void *
lkpi_mallocarray(size_t n, size_t size, const char *type, int flags)
{
	size_t bytes;

	if (__builtin_mul_overflow(n, size, &bytes))
		panic("mallocarray: %zu * %zu overflowed", n, size);
	return (lkpi_malloc(bytes, type, flags));
}

/* A block of another size with what fits of the old one, which is freed; that stays if there is no memory, unless it is to go. */
static __inline void *
lkpi_realloc(void *from, size_t size, const char *type, int flags, int always)
{
	size_t old = from == NULL ? 0 : lkpi_malloc_size(from);
	void *to = lkpi_malloc(size, type, flags);

	if (to != NULL && from != NULL)
		memcpy(to, from, old < size ? old : size);
	if (to != NULL || always)
		lkpi_free(from, type);
	return (to);
}

#endif /* _SYS_MALLOC_H_ */
