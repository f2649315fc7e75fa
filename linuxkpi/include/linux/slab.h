/*-
 * SPDX-License-Identifier: BSD-2-Clause
 *
 * linux/slab.h: malloc(9), which asserts in a critical section; kfree() defers itself there, if the mapping says so.
 */

#ifndef _LINUX_SLAB_H_
#define _LINUX_SLAB_H_

#include <linux/gfp.h>
#include <linux/string.h>
#include <linux/types.h>
#include <linuxkpi/mapping.h>

void *lkpi_kmalloc(size_t, gfp_t);
void *lkpi_kmalloc_array(size_t, size_t, gfp_t);
size_t lkpi_ksize(const void *);
void LKPI(kfree)(const void *);
void LKPI(kfree_sensitive)(const void *);

#define kmalloc(size, flags) lkpi_kmalloc((size), (flags))
#define kzalloc(size, flags) lkpi_kmalloc((size), (flags) | __GFP_ZERO)
#define kmalloc_array(n, size, flags) lkpi_kmalloc_array((n), (size), (flags))
#define kcalloc(n, size, flags) lkpi_kmalloc_array((n), (size), (flags) | __GFP_ZERO)
#define kvmalloc(size, flags) kmalloc((size), (flags))
#define kvzalloc(size, flags) kzalloc((size), (flags))
#define ksize(at) lkpi_ksize(at)
#define kfree(at) LKPI(kfree)(at)
#define kvfree(at) LKPI(kfree)(at)
#define kfree_sensitive(at) LKPI(kfree_sensitive)(at)

#define kmalloc_node(size, flags, node) ((void)(node), kmalloc((size), (flags)))
#define kzalloc_node(size, flags, node) ((void)(node), kzalloc((size), (flags)))
#define kvmalloc_array(n, size, flags) kmalloc_array((n), (size), (flags))
#define kvcalloc(n, size, flags) kcalloc((n), (size), (flags))

/* The bytes of *p and n elements of its last member; more than there is if that overflows. */
static inline size_t
lkpi_struct_size(size_t n, size_t element, size_t head)
{
	size_t bytes;

	if (__builtin_mul_overflow(n, element, &bytes) || __builtin_add_overflow(bytes, head, &bytes))
		return (~(size_t)0);
	return (bytes);
}
#define struct_size(p, member, n)					\
	lkpi_struct_size((n), sizeof(*(p)->member), sizeof(*(p)))

static inline void *
kmemdup(const void *from, size_t size, gfp_t flags)
{
	void *to = kmalloc(size, flags);

	if (to != NULL)
		memcpy(to, from, size);
	return (to);
}

static inline char *
kstrdup(const char *from, gfp_t flags)
{
	return (from == NULL ? NULL : kmemdup(from, strlen(from) + 1, flags));
}

/* A block of another size with what fits of the old one, which is freed; that stays if there is no memory. */
static inline void *
krealloc(const void *from, size_t size, gfp_t flags)
{
	size_t old = ksize(from);
	void *to;

	if (size == 0) {
		kfree(from);
		return (NULL);
	}
	to = kmalloc(size, flags);
	if (to != NULL && from != NULL) {
		memcpy(to, from, old < size ? old : size);
		kfree(from);
	}
	return (to);
}

static inline void *
krealloc_array(const void *from, size_t n, size_t size, gfp_t flags)
{
	size_t bytes;

	return (__builtin_mul_overflow(n, size, &bytes) ? NULL : krealloc(from, bytes, flags));
}

#define SLAB_HWCACHE_ALIGN 0x0001
#define SLAB_RECLAIM_ACCOUNT 0x0002
#define SLAB_TYPESAFE_BY_RCU 0x0004

struct kmem_cache;

struct kmem_cache *lkpi_kmem_cache_create(const char *, size_t, unsigned long, void (*)(void *));
void *lkpi_kmem_cache_alloc(struct kmem_cache *, gfp_t);

void LKPI(kmem_cache_free)(const struct kmem_cache *, void *);
void lkpi_kmem_cache_destroy(struct kmem_cache *);

#define kmem_cache_create(name, size, align, flags, ctor)		\
	((void)(align), lkpi_kmem_cache_create((name), (size), (flags), (ctor)))
#define KMEM_CACHE(type, flags) kmem_cache_create(#type, sizeof(struct type), 0, (flags), NULL)
#define kmem_cache_alloc(cache, flags) lkpi_kmem_cache_alloc((cache), (flags))
#define kmem_cache_zalloc(cache, flags) lkpi_kmem_cache_alloc((cache), (flags) | __GFP_ZERO)
#define kmem_cache_free(cache, at) LKPI(kmem_cache_free)((cache), (at))
#define kmem_cache_destroy(cache) lkpi_kmem_cache_destroy(cache)

#endif /* _LINUX_SLAB_H_ */
