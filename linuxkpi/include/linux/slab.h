/*-
 * SPDX-License-Identifier: BSD-2-Clause
 *
 * linux/slab.h: malloc(9), which asserts in a critical section; kfree() defers itself there, if the mapping says so.
 */

#ifndef _LINUX_SLAB_H_
#define _LINUX_SLAB_H_

#include <linux/gfp.h>
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
