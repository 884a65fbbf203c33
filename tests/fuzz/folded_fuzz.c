/* What a folded file holds, written and read again, is written the same: the identity of import. */

#include <assert.h>
#include <string.h>

#include "profile/folded.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t count);

/* Reads and writes again; whether it could. */
static int there_and_back(
        const uint8_t *bytes, size_t count, struct buf *to, uint64_t *ret_replaced)
{
	AUTO(dict) dict = dict_new(dict_limits_default);
	AUTO(batch) batch = dict ? batch_new(dict) : NULL;
	struct series series = { .period = 1 };
	struct parse_error error;
	uint64_t skipped;
	uint32_t id;

	if (!batch || dict_series(dict, &series, NULL, 0, &id) < 0)
		return -1;
	int result = folded_parse((const char *)bytes, count, batch, id, &skipped, &error);
	if (result < 0) {
		assert(strncmp(error.text, "line ", 5) == 0);
		return result;
	}
	return folded_write(batch, frame_name_plain, to, ret_replaced);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t count)
{
	AUTO_BUF first = { 0 };
	AUTO_BUF second = { 0 };
	uint64_t replaced = 0;

	if (there_and_back(bytes, count, &first, &replaced) < 0)
		return 0;
	assert(replaced == 0);
	int result = there_and_back(first.bytes, first.count, &second, &replaced);
	assert(result == 0 && replaced == 0);
	assert(first.count == second.count);
	assert(first.count == 0 || memcmp(first.bytes, second.bytes, first.count) == 0);
	return 0;
}
