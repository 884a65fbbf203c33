/*
 * spool_file: any bytes as an entry in the spool's folder, and any first line as its name. So that
 * what lies behind the checksum is reached as well, the input is also wrapped in a file of its own.
 */

#include <stdlib.h>
#include <string.h>

#include "agent/spool_file.h"
#include "core/auto.h"
#include "profile/batch.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t count);

static void fuzz_batch(const struct spool_file *file)
{
	AUTO(dict) dict = dict_new(dict_limits_default);
	AUTO(batch) batch = dict ? batch_new(dict) : NULL;
	struct reader reader = reader_of(file->bytes, file->count);

	if (!batch)
		abort();
	(void)batch_decode_whole(batch, &reader);
}

static void fuzz_name(const uint8_t *bytes, size_t count)
{
	struct spool_file_name name;
	char text[SPOOL_FILE_NAME_BYTES];
	char again[SPOOL_FILE_NAME_BYTES];

	if (count >= sizeof(text))
		count = sizeof(text) - 1;
	if (count > 0)
		memcpy(text, bytes, count);
	text[count] = 0;
	text[strcspn(text, "\n")] = 0;
	if (spool_file_parse(text, &name) < 0)
		return;
	spool_file_format(&name, again);
	if (strcmp(text, again))
		abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t count)
{
	AUTO_BUF wrapped = { 0 };
	struct spool_file file = { 0 };
	struct spool_file again;

	fuzz_name(bytes, count);
	if (spool_file_decode(bytes, count, &file) == 0)
		fuzz_batch(&file);

	file = (struct spool_file){
		.samples = count, .replaces = "", .bytes = bytes, .count = count
	};
	spool_file_encode(&file, &wrapped);
	if (wrapped.failed || spool_file_decode(wrapped.bytes, wrapped.count, &again) < 0 ||
	        again.count != count || again.samples != count)
		abort();
	fuzz_batch(&again);
	return 0;
}
