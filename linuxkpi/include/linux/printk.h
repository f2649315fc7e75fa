/*-
 * SPDX-License-Identifier: BSD-2-Clause
 *
 * linux/printk.h
 */

#ifndef _LINUX_PRINTK_H_
#define _LINUX_PRINTK_H_

#include <linux/types.h>
#include <sys/systm.h>

#define KERN_EMERG ""
#define KERN_ALERT ""
#define KERN_CRIT ""
#define KERN_ERR ""
#define KERN_WARNING ""
#define KERN_NOTICE ""
#define KERN_INFO ""
#define KERN_DEBUG ""
#define KERN_CONT ""

#ifndef pr_fmt
#define pr_fmt(fmt) fmt
#endif

#define printk(...) LKPI_FORMAT(lkpi_printf, __VA_ARGS__)
#define pr_emerg(fmt, ...) printk(pr_fmt(fmt), ##__VA_ARGS__)
#define pr_alert(fmt, ...) printk(pr_fmt(fmt), ##__VA_ARGS__)
#define pr_crit(fmt, ...) printk(pr_fmt(fmt), ##__VA_ARGS__)
#define pr_err(fmt, ...) printk(pr_fmt(fmt), ##__VA_ARGS__)
#define pr_warn(fmt, ...) printk(pr_fmt(fmt), ##__VA_ARGS__)
#define pr_warning(fmt, ...) printk(pr_fmt(fmt), ##__VA_ARGS__)
#define pr_notice(fmt, ...) printk(pr_fmt(fmt), ##__VA_ARGS__)
#define pr_info(fmt, ...) printk(pr_fmt(fmt), ##__VA_ARGS__)
#define pr_cont(fmt, ...) printk(fmt, ##__VA_ARGS__)
/* The arguments are type-checked and not evaluated. */
#define no_printk(fmt, ...) ((void)sizeof(snprintf(NULL, 0, fmt, ##__VA_ARGS__)))
#define pr_debug(fmt, ...) no_printk(fmt, ##__VA_ARGS__)

#endif /* _LINUX_PRINTK_H_ */
