/*
 * Names of functions as hostile symbol tables and agents have them: made readable within bounds,
 * and canonical: never empty, and the same bytes where it says that nothing was changed.
 */

#include <assert.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "core/auto.h"
#include "profile/canon.h"
#include "profile/demangle.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t count);

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t count)
{
	AUTO_BUF readable = { 0 };
	AUTO_BUF name = { 0 };
	autofree char *text = malloc(count + 1);
	if (!text)
		abort();
	memcpy(text, bytes, count);
	text[count] = 0;
	bool is_mangled = demangle(text, &readable);
	assert(is_mangled ? readable.count <= DEMANGLE_OUTPUT_BYTES_MAX : readable.count == 0);
	bool is_other = canon(text, count, &name);
	assert(name.failed || count == 0 || name.count > 0);
	if (!name.failed && !is_other)
		assert(name.count == count && (count == 0 || memcmp(name.bytes, text, count) == 0));
	return 0;
}
