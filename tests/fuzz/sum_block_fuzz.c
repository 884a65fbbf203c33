/*
 * Bytes as a sum block, under a right checksum, since no fuzzer finds that. What can be read must
 * be fit to be added up, alone and to itself, and the sums must be one and two of it. The last two
 * bytes say how many before them are the values of its groups, which is a block of its own.
 */

#include <assert.h>
#include <errno.h>
#include <stddef.h>
#include <stdint.h>

#include "storage/block_head.h"
#include "storage/sum_block.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t count);

static const struct kv_bytes key = { "fuzz", 4 };
static const struct sum_keys keys = { { "fuzz", 4 }, { "fuzzed values", 13 } };

#define NODES_MAX (1u << 16)

/* `times` of the block in one; the samples are those of the block, so often. */
static int check_merge(
        const struct sum_block *block, struct kv_bytes values, uint32_t times, struct buf *to)
{
	struct sum_source source = {
		.block = block,
		.values_key = keys.values,
		.values = values,
	};
	struct sum_source sources[2] = { source, source };
	AUTO_BUF to_values = { 0 };
	const struct sum_merge_options options = { .nodes_count = NODES_MAX };
	struct sum_block merged;
	int r = sum_merge(sources, times, options, keys, to, &to_values);
	if (r < 0)
		return r;
	r = sum_block_open(key, (struct kv_bytes){ to->bytes, to->count }, &merged);
	assert(r == 0);
	assert(merged.samples == times * block->samples);
	assert(merged.groups_count == block->groups_count);
	assert(merged.has_values_apart == (to_values.count > 0));
	assert(merged.dictionary_hash == block->dictionary_hash);
	return 0;
}

static void check_groups(const struct sum_block *block, struct kv_bytes group_values)
{
	AUTO(sum_memory) memory = sum_memory_new();
	AUTO(stack_sums) sums = stack_sums_new(block->dictionary_count);
	const struct sum_group *groups;
	const uint32_t *order;
	const uint64_t *values;
	assert(memory && sums);
	if (sum_block_get_groups(block, memory, &groups) < 0 ||
	        sum_block_open_values(block, memory, keys.values, group_values) < 0 ||
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

static struct kv_bytes check_sealed(
        const uint8_t *bytes, size_t count, struct kv_bytes of, struct buf *sealed)
{
	if (count > 0)
		buf_put(sealed, bytes, count);
	if (count >= BLOCK_CHECKSUM_BYTES)
		block_head_seal(sealed, of);
	return (struct kv_bytes){ sealed->bytes, sealed->count };
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t count)
{
	AUTO_BUF sealed = { 0 };
	AUTO_BUF sealed_values = { 0 };
	AUTO_BUF once = { 0 };
	AUTO_BUF twice = { 0 };
	struct sum_block block;
	if (count < 2)
		return 0;
	count -= 2;
	size_t values_count = bytes[count] | (size_t)bytes[count + 1] << 8;
	values_count = values_count < count ? values_count : count;
	size_t block_count = count - values_count;
	struct kv_bytes value = check_sealed(bytes, block_count, key, &sealed);
	struct kv_bytes values = check_sealed(
	        bytes + block_count, values_count, keys.values, &sealed_values);
	if (sum_block_open(key, value, &block) < 0 || block.dictionary_count > NODES_MAX ||
	        block.groups_count > 64)
		return 0;
	if (values_count >= BLOCK_CHECKSUM_BYTES)
		block.values_checksum = block_head_checksum(values);
	check_groups(&block, values);
	if (check_merge(&block, values, 1, &once) == 0) {
		int r = check_merge(&block, values, 2, &twice);
		assert(r == 0 || r == -EOVERFLOW);
	}
	return 0;
}
