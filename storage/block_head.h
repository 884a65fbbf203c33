#pragma once

/*
 * block_head is what every sealed block begins with: checksum, magic, versions
 * (storage/block_format.h). Writers append to an empty buf and seal it when it is complete.
 */

#include <stdint.h>

#include "core/buf.h"
#include "core/reader.h"
#include "storage/kv.h"

void block_head_begin(uint32_t magic, struct buf *to);
void block_head_seal(struct buf *block, struct kv_bytes key);

/*
 * What lies behind the head. -EBADMSG: another magic, or a wrong checksum (of these bytes under
 * this key). -EPROTONOSUPPORT: only newer readers understand it.
 */
int block_head_open(
        uint32_t magic, struct kv_bytes key, struct kv_bytes value, struct reader *ret_rest);
