/*
 * What a pprof file says, written and read again, is the same: rows are compared by content ids, so
 * numbering and order do not count.
 */

#include <assert.h>
#include <string.h>

#include "core/hash.h"
#include "profile/pprof.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t count);

/* A sum, because rows have no order. */
static uint64_t rows_fingerprint(const struct batch *batch)
{
	uint64_t sum = 0;

	for (uint32_t i = 0; i < batch->rows_count; i++) {
		const struct row *row = &batch->rows[i];
		struct hash128 series = dict_series_hash(batch->dict, row->series);
		struct hash128 node = dict_node_hash(batch->dict, row->node);
		uint64_t words[] = { series.low, series.high, node.low, node.high, row->value };

		sum += hash64_bytes(words, sizeof(words));
	}
	return sum;
}

static int parse(const uint8_t *bytes, size_t count, struct batch *batch)
{
	struct pprof_report report = { 0 };
	struct parse_error error = { 0 };

	int result = pprof_parse(bytes, count, (struct pprof_options){ 0 }, batch, &report, &error);
	assert(result == 0 || error.text[0]);
	return result < 0 ? result : batch_settle(batch);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t count)
{
	AUTO(dict) dict = dict_new(dict_limits_default);
	AUTO(dict) dict_again = dict_new(dict_limits_default);
	AUTO(batch) batch = dict ? batch_new(dict) : NULL;
	AUTO(batch) again = dict_again ? batch_new(dict_again) : NULL;
	AUTO_BUF written = { 0 };

	if (!batch || !again || parse(bytes, count, batch) < 0)
		return 0;
	/* Equal stacks may add up to more than the format can hold. */
	if (pprof_write(batch, frame_name_plain, &written) < 0)
		return 0;
	int result = parse(written.bytes, written.count, again);
	assert(result == 0);
	assert(batch->rows_count == again->rows_count);
	assert(rows_fingerprint(batch) == rows_fingerprint(again));
	return 0;
}
