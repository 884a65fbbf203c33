/*
 * A key without the zero at its end is the one next before it; before any other lie endlessly many,
 * of which one with more bytes of ones than any of our keys has stands for the last.
 */

#include "storage/kv_order.h"

#include <stdint.h>
#include <string.h>

#define KV_ORDER_ONES_BYTES 64

int kv_order_compare(struct kv_bytes a, struct kv_bytes b)
{
	size_t count = a.count < b.count ? a.count : b.count;
	int order = count ? memcmp(a.bytes, b.bytes, count) : 0;
	return order ? order : (a.count > b.count) - (a.count < b.count);
}

void kv_order_put_before(struct kv_bytes to, struct buf *before)
{
	static const uint8_t ones[KV_ORDER_ONES_BYTES] = { [0 ... KV_ORDER_ONES_BYTES - 1] = 0xff };
	const uint8_t *bytes = to.bytes;
	uint8_t last = bytes[to.count - 1];
	buf_put(before, bytes, to.count - 1);
	if (last == 0)
		return;
	buf_put_u8(before, last - 1);
	buf_put(before, ones, sizeof(ones));
}
