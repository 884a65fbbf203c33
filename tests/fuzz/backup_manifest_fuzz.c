/*
 * A manifest of a backup from any text. The checksum is made right here, since nothing gets past a
 * wrong one (and that is tried as well). What is accepted has names without paths, and is written
 * again byte by byte the same, but for its version.
 */

#include <assert.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "core/hash.h"
#include "storage/backup_manifest.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t count);

static void try_text(const void *bytes, size_t count)
{
	AUTO_BACKUP_MANIFEST manifest = { .files = NULL };
	AUTO_BUF again = { 0 };
	if (backup_manifest_get(bytes, count, &manifest) < 0)
		return;
	for (uint32_t i = 0; i < manifest.files_count; i++)
		assert(!strchr(manifest.files[i].name, '/') && manifest.files[i].name[0] != '.');
	backup_manifest_put(&manifest, &again);
	assert(!again.failed);
	/* The first line is of the writer's version, and with it the checksum. */
	const uint8_t *line = memchr(bytes, '\n', count);
	const uint8_t *line_again = memchr(again.bytes, '\n', again.count);
	assert(line && line_again);
	size_t left = count - (size_t)(line - (const uint8_t *)bytes);
	size_t left_again = again.count - (size_t)(line_again - again.bytes);
	assert(left == left_again && memcmp(line, line_again, left - 17) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t count)
{
	AUTO_BUF text = { 0 };
	try_text(bytes, count);
	buf_put(&text, bytes, count);
	buf_printf(&text, "checksum %016llx\n", (unsigned long long)hash64_bytes(bytes, count));
	if (!text.failed)
		try_text(text.bytes, text.count);
	return 0;
}
