#pragma once

/* kv_order is the order of keys: as bytes, what is shorter first where one begins with the other.
 */

#include "core/buf.h"
#include "storage/kv.h"

/* Less than 0, 0, or more: as memcmp(). */
int kv_order_compare(struct kv_bytes a, struct kv_bytes b);

/*
 * Appends a key that is less than `to`, which is not empty, and that no key of ours lies between:
 * for ranges that would have their end with them.
 */
void kv_order_put_before(struct kv_bytes to, struct buf *before);
