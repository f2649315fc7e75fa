/*-
 * SPDX-License-Identifier: BSD-2-Clause
 *
 * linux/export.h: every symbol is visible already.
 */

#ifndef _LINUX_EXPORT_H_
#define _LINUX_EXPORT_H_

#define EXPORT_SYMBOL(name)
#define EXPORT_SYMBOL_GPL(name)

#endif /* _LINUX_EXPORT_H_ */
