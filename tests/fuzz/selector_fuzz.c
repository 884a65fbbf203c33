/* A selector that parses prints in a form that parses again and prints the same. */

#include <assert.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "profile/selector.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t count);

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t count)
{
	/* Not strndup(), whose sanitizer wants a zero byte to read up to. */
	autofree char *text = calloc(1, count + 1);
	AUTO(selector) selector = NULL;
	AUTO(selector) again = NULL;
	AUTO_BUF printed = { 0 };
	AUTO_BUF printed_again = { 0 };
	char error[64];

	if (text && count)
		memcpy(text, bytes, count);
	if (!text || selector_parse(text, &selector, error, sizeof(error)) < 0)
		return 0;
	for (uint32_t i = 0; i < selector_matchers_count(selector); i++)
		(void)selector_matcher_accepts(selector, i, "cart-1.9.2 ä");
	selector_print(selector, &printed);
	buf_put_u8(&printed, 0);
	if (printed.failed || printed.count > SELECTOR_BYTES_MAX)
		return 0;
	int result = selector_parse((const char *)printed.bytes, &again, error, sizeof(error));
	assert(result == 0);
	selector_print(again, &printed_again);
	buf_put_u8(&printed_again, 0);
	assert(printed_again.failed ||
	        strcmp((const char *)printed.bytes, (const char *)printed_again.bytes) == 0);
	return 0;
}
