/*
 * Bytes as a whole batch. What is accepted must come back from our own encoding, and must add up to
 * itself twice when it is merged twice; what is refused must leave nothing.
 */

#include <assert.h>
#include <errno.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "profile/batch.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t count);

static void check_comes_back(const struct batch *batch)
{
	AUTO_BUF encoded = { 0 };
	AUTO_BUF again = { 0 };
	AUTO(dict) dict = dict_new(dict_limits_default);
	AUTO(batch) back = batch_new(dict);

	batch_encode_whole(batch, &encoded);
	struct reader from = reader_of(encoded.bytes, encoded.count);
	int r = batch_decode_whole(back, &from);
	assert(r == 0);
	batch_encode_whole(back, &again);
	assert(again.count == encoded.count);
	assert(memcmp(again.bytes, encoded.bytes, again.count) == 0);
}

static void check_adds_up(const struct batch *batch)
{
	AUTO(dict) dict = dict_new(dict_limits_default);
	AUTO(batch) sum = batch_new(dict);

	int r = batch_merge(sum, batch);
	assert(r == 0);
	assert(sum->rows_count == batch->rows_count);
	assert(sum->start_ns == batch->start_ns && sum->duration_ns == batch->duration_ns);
	assert(batch_samples(sum) == batch_samples(batch));
	assert(batch_lost(sum) == batch_lost(batch));
	check_comes_back(sum);

	r = batch_merge(sum, batch);
	assert(r == 0 || r == -EOVERFLOW);
	if (r == 0 && batch_samples(batch) < UINT64_MAX / 2)
		assert(batch_samples(sum) == 2 * batch_samples(batch));
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t count)
{
	struct dict_limits limits = { 1000, 1000, 1000, 1000, 1000, 100000 };
	AUTO(dict) dict = dict_new(limits);
	AUTO(batch) batch = batch_new(dict);
	struct reader from = reader_of(bytes, count);

	if (batch_decode_whole(batch, &from) < 0) {
		assert(batch->rows_count == 0 && batch->coverage_count == 0);
		assert(batch->losses_count == 0 && dict_mark(dict).strings == 1);
		return 0;
	}
	check_comes_back(batch);
	check_adds_up(batch);
	return 0;
}
