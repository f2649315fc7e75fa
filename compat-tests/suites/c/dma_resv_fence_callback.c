/*-
 * SPDX-License-Identifier: BSD-2-Clause
 *
 * dma-resv-fence-callback, as a driver has it (drm-kmod #116, without its preempt_disable).
 *
 * An ioctl adds a fence to a buffer's reservation object. Inside write_seqlock() it looks for old fences that it may
 * replace; one turns out signalled, since the hardware has passed its number. Signalling it takes the lock of its
 * fence context by spin_lock_irqsave() and runs its callbacks. Another thread of the same driver emits requests under
 * that lock, and the device's interrupt handler signals fences under it. There is no reader.
 */

#include <linux/atomic.h>
#include <linux/bitops.h>
#include <linux/completion.h>
#include <linux/err.h>
#include <linux/interrupt.h>
#include <linux/kernel.h>
#include <linux/list.h>
#include <linux/seqlock.h>
#include <linux/slab.h>
#include <linux/spinlock.h>

#include <linuxkpi/scenario.h>

/*
 * Fences
 */

struct dma_fence;
struct dma_fence_cb;

typedef void (*dma_fence_func_t)(struct dma_fence *, struct dma_fence_cb *);

struct dma_fence_ops {
	bool (*signaled)(struct dma_fence *);
};

#define DMA_FENCE_FLAG_SIGNALED_BIT 0

struct dma_fence {
	/* All fences of a context share its lock. */
	spinlock_t *lock;
	const struct dma_fence_ops *ops;
	struct list_head cb_list;
	u64 context;
	u64 seqno;
	unsigned long flags;
	atomic_t refcount;
};

struct dma_fence_cb {
	struct list_head node;
	dma_fence_func_t func;
};

static void
dma_fence_init(struct dma_fence *fence, const struct dma_fence_ops *ops, spinlock_t *lock, u64 context, u64 seqno)
{
	fence->lock = lock;
	fence->ops = ops;
	INIT_LIST_HEAD(&fence->cb_list);
	fence->context = context;
	fence->seqno = seqno;
	fence->flags = 0;
	atomic_set(&fence->refcount, 1);
}

static struct dma_fence *
dma_fence_get(struct dma_fence *fence)
{
	atomic_inc(&fence->refcount);
	return (fence);
}

static void
dma_fence_put(struct dma_fence *fence)
{
	if (fence != NULL && atomic_dec_and_test(&fence->refcount))
		kfree(fence);
}

/* The caller holds the fence's lock. */
static int
dma_fence_signal_locked(struct dma_fence *fence)
{
	struct dma_fence_cb *cb, *next;

	lockdep_assert_held(fence->lock);
	if (test_and_set_bit(DMA_FENCE_FLAG_SIGNALED_BIT, &fence->flags))
		return (-EINVAL);
	list_for_each_entry_safe(cb, next, &fence->cb_list, node) {
		list_del_init(&cb->node);
		cb->func(fence, cb);
	}
	return (0);
}

static int
dma_fence_signal(struct dma_fence *fence)
{
	unsigned long flags;
	int error;

	spin_lock_irqsave(fence->lock, flags);
	error = dma_fence_signal_locked(fence);
	spin_unlock_irqrestore(fence->lock, flags);
	return (error);
}

static bool
dma_fence_is_signaled(struct dma_fence *fence)
{
	if (test_bit(DMA_FENCE_FLAG_SIGNALED_BIT, &fence->flags))
		return (true);
	if (fence->ops->signaled != NULL && fence->ops->signaled(fence)) {
		dma_fence_signal(fence);
		return (true);
	}
	return (false);
}

static int
dma_fence_add_callback(struct dma_fence *fence, struct dma_fence_cb *cb, dma_fence_func_t func)
{
	unsigned long flags;
	int error = 0;

	cb->func = func;
	spin_lock_irqsave(fence->lock, flags);
	if (test_bit(DMA_FENCE_FLAG_SIGNALED_BIT, &fence->flags))
		error = -ENOENT;
	else
		list_add_tail(&cb->node, &fence->cb_list);
	spin_unlock_irqrestore(fence->lock, flags);
	return (error);
}

/*
 * Reservation objects
 */

#define SHARED_MAX 4

struct dma_resv {
	seqlock_t seq;
	unsigned int shared_count;
	struct dma_fence *shared[SHARED_MAX];
};

static void
dma_resv_init(struct dma_resv *resv)
{
	seqlock_init(&resv->seq);
	resv->shared_count = 0;
}

static void
dma_resv_fini(struct dma_resv *resv)
{
	while (resv->shared_count > 0)
		dma_fence_put(resv->shared[--resv->shared_count]);
}

/* Puts the fence where an old one is of no use any more, or at the end. */
static void
dma_resv_add_shared_fence(struct dma_resv *resv, struct dma_fence *fence)
{
	struct dma_fence *old = NULL;
	unsigned int i;

	dma_fence_get(fence);
	write_seqlock(&resv->seq);
	for (i = 0; i < resv->shared_count; i++) {
		old = resv->shared[i];
		if (old->context == fence->context || dma_fence_is_signaled(old))
			break;
		old = NULL;
	}
	BUG_ON(i >= SHARED_MAX);
	resv->shared[i] = fence;
	if (i == resv->shared_count)
		resv->shared_count++;
	write_sequnlock(&resv->seq);
	dma_fence_put(old);
}

/*
 * The driver
 */

struct gpu {
	/* The fence context's lock: radeon's fence_queue.lock, i915's rq->lock. */
	spinlock_t lock;
	/* How far the hardware has come. */
	u64 hw_seqno;
	/* (lock) Requests begun and emitted: the same, but for whoever holds the lock. */
	unsigned long begun;
	unsigned long emitted;
	/* (lock) Callbacks that ran. */
	unsigned long callbacks;
	/* The old fence, for the interrupt handler. */
	struct dma_fence *pending;
	struct dma_fence_cb cb;
	struct dma_resv resv;
	struct completion queued;
	unsigned int irq;
};

static struct gpu *gpu;

/* Works on what the lock guards, and takes its time. The caller holds the lock. */
static void
gpu_ring_emit(struct gpu *sc)
{
	sc->begun++;
	LKPI_CHECK(sc->begun == sc->emitted + 1);
	sc->emitted++;
	LKPI_CHECK(sc->begun == sc->emitted);
}

static bool
gpu_fence_signaled(struct dma_fence *fence)
{
	return (READ_ONCE(gpu->hw_seqno) >= fence->seqno);
}

static const struct dma_fence_ops gpu_fence_ops = {
	.signaled = gpu_fence_signaled,
};

static void
gpu_fence_callback(struct dma_fence *fence, struct dma_fence_cb *cb)
{
	struct gpu *sc = container_of(cb, struct gpu, cb);

	sc->callbacks++;
	gpu_ring_emit(sc);
}

static irqreturn_t
gpu_irq_handler(int irq, void *arg)
{
	struct gpu *sc = arg;
	unsigned long flags;

	spin_lock_irqsave(&sc->lock, flags);
	gpu_ring_emit(sc);
	if (READ_ONCE(sc->hw_seqno) >= sc->pending->seqno)
		dma_fence_signal_locked(sc->pending);
	spin_unlock_irqrestore(&sc->lock, flags);
	return (IRQ_HANDLED);
}

static struct dma_fence *
gpu_fence_create(struct gpu *sc, u64 context, u64 seqno)
{
	struct dma_fence *fence;

	fence = kzalloc(sizeof(*fence), GFP_KERNEL);
	BUG_ON(fence == NULL);
	dma_fence_init(fence, &gpu_fence_ops, &sc->lock, context, seqno);
	return (fence);
}

/*
 * The two system calls
 */

static void
submit_ioctl(void *arg)
{
	struct gpu *sc = arg;
	unsigned long flags;

	complete(&sc->queued);
	spin_lock_irqsave(&sc->lock, flags);
	gpu_ring_emit(sc);
	spin_unlock_irqrestore(&sc->lock, flags);
}

static void
fence_ioctl(void *arg)
{
	struct gpu *sc = arg;
	struct dma_fence *fence;

	fence = gpu_fence_create(sc, 2, 1);
	wait_for_completion(&sc->queued);
	dma_resv_add_shared_fence(&sc->resv, fence);
	dma_fence_put(fence);
}

LKPI_SCENARIO(dma_resv_fence_callback)
{
	lkpi_bystanders();

	gpu = kzalloc(sizeof(*gpu), GFP_KERNEL);
	BUG_ON(gpu == NULL);
	spin_lock_init(&gpu->lock);
	init_completion(&gpu->queued);
	dma_resv_init(&gpu->resv);
	gpu->pending = gpu_fence_create(gpu, 1, 1);
	BUG_ON(dma_fence_add_callback(gpu->pending, &gpu->cb, gpu_fence_callback) != 0);
	dma_resv_add_shared_fence(&gpu->resv, gpu->pending);
	/* The hardware is done, and nobody has noticed yet. */
	WRITE_ONCE(gpu->hw_seqno, 1);
	gpu->irq = lkpi_device_irq("gpu");
	BUG_ON(request_irq(gpu->irq, gpu_irq_handler, 0, "gpu", gpu) != 0);

	const struct lkpi_syscall threads[] = {
		{ "submit", LKPI_BATCH, 0, submit_ioctl, gpu },
		{ "ioctl", LKPI_INTERACTIVE, 0, fence_ioctl, gpu },
	};
	lkpi_syscalls(threads, ARRAY_SIZE(threads));

	free_irq(gpu->irq, gpu);
	LKPI_CHECK(gpu->callbacks == 1);
	LKPI_CHECK(gpu->begun == gpu->emitted);
	LKPI_CHECK(gpu->resv.shared_count == 1);
	LKPI_CHECK(gpu->resv.shared[0]->context == 2);
	dma_resv_fini(&gpu->resv);
	dma_fence_put(gpu->pending);
	kfree(gpu);
}
