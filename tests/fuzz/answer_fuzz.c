/* Whatever decodes as an answer encodes to bytes that decode to the same bytes. */

#include <assert.h>
#include <string.h>

#include "profile/answer.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t count);

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t count)
{
	struct reader from = reader_of(bytes, count);
	AUTO(answer) answer = NULL;
	AUTO(answer) again = NULL;
	AUTO_BUF first = { 0 };
	AUTO_BUF second = { 0 };

	if (answer_decode(&from, &answer) < 0)
		return 0;
	answer_encode(answer, &first);
	if (first.failed)
		return 0;
	from = reader_of(first.bytes, first.count);
	int result = answer_decode(&from, &again);
	assert(result == 0);
	answer_encode(again, &second);
	assert(second.failed || (first.count == second.count &&
	                                memcmp(first.bytes, second.bytes, first.count) == 0));
	return 0;
}
