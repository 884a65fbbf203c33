#pragma once

/*
 * block_head is what every sealed block begins with: checksum, magic, versions
 * (storage/block_format.h). Writers append to an empty buf and seal it when it is complete.
 */

#include <stdint.h>

#include "core/buf.h"
#include "core/reader.h"
#include "storage/block_format.h"
#include "storage/kv.h"

void block_head_begin(uint32_t magic, enum block_version version, struct buf *to);
void block_head_seal(struct buf *block, struct kv_bytes key);

/* The checksum of a block that was sealed or opened. */
uint64_t block_head_checksum(struct kv_bytes block);

/*
 * What lies behind the head, and which version that is: up to `newest`. -EBADMSG: another magic, or
 * a wrong checksum (of these bytes under this key). -EPROTONOSUPPORT: only newer readers understand
 * it.
 */
int block_head_open(uint32_t magic, enum block_version newest, struct kv_bytes key,
        struct kv_bytes value, uint8_t *ret_version, struct reader *ret_rest);
