/*
 * Bytes as a sum block, under a right checksum, since no fuzzer finds that. What can be read must
 * be fit to be added up, alone and to itself, and the sums must be one and two of it.
 */

#include <assert.h>
#include <errno.h>
#include <stddef.h>
#include <stdint.h>

#include "storage/block_head.h"
#include "storage/sum_block.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t count);

static const struct kv_bytes key = { "fuzz", 4 };

#define NODES_MAX (1u << 16)

/* `times` of the block in one; the samples are those of the block, so often. */
static int check_merge(const struct sum_block *block, uint32_t times, struct buf *to)
{
	struct sum_source sources[2] = { { .block = block }, { .block = block } };
	const struct sum_merge_options options = { .nodes_count = NODES_MAX };
	struct sum_block merged;
	int r = sum_merge(sources, times, options, key, to);
	if (r < 0)
		return r;
	r = sum_block_open(key, (struct kv_bytes){ to->bytes, to->count }, &merged);
	assert(r == 0);
	assert(merged.samples == times * block->samples);
	assert(merged.groups_count == block->groups_count);
	assert(merged.dictionary_hash == block->dictionary_hash);
	return 0;
}

static void check_groups(const struct sum_block *block)
{
	AUTO(sum_memory) memory = sum_memory_new();
	AUTO(stack_sums) sums = stack_sums_new(block->dictionary_count);
	const struct sum_group *groups;
	const uint32_t *order;
	const uint64_t *values;
	assert(memory && sums);
	if (sum_block_get_groups(block, memory, &groups) < 0 ||
	        sum_block_get_order(block, memory, &order) < 0)
		return;
	for (uint32_t group = 0; group < block->groups_count; group++) {
		uint64_t samples = 0;
		stack_sums_reset(sums);
		if (sum_block_add_group(block, memory, group, sums) < 0)
			continue;
		int r = stack_sums_get(sums, &values);
		assert(r == 0);
		for (uint32_t i = 0; i < block->dictionary_count; i++) {
			assert(order[i] < block->dictionary_count);
			samples += values[i];
		}
		assert(samples == groups[group].samples);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t count)
{
	AUTO_BUF sealed = { 0 };
	AUTO_BUF once = { 0 };
	AUTO_BUF twice = { 0 };
	struct sum_block block;
	buf_put(&sealed, bytes, count);
	if (count >= BLOCK_CHECKSUM_BYTES)
		block_head_seal(&sealed, key);

	struct kv_bytes value = { sealed.bytes, sealed.count };
	if (sum_block_open(key, value, &block) < 0 || block.dictionary_count > NODES_MAX ||
	        block.groups_count > 64)
		return 0;
	check_groups(&block);
	if (check_merge(&block, 1, &once) == 0) {
		int r = check_merge(&block, 2, &twice);
		assert(r == 0 || r == -EOVERFLOW);
	}
	return 0;
}
