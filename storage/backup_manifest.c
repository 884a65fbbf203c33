/*
 * Every line is read in its place: a manifest has one form, so what is read is written again byte
 * by byte the same. The checksum in the last line is over all lines before it.
 */

#include "storage/backup_manifest.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/hash.h"

#define MANIFEST_FIRST    "profleet-backup"
#define MANIFEST_CHECKSUM "checksum "
/* "checksum ", 16 digits, and the end of the line. */
#define MANIFEST_LAST_BYTES (sizeof(MANIFEST_CHECKSUM) - 1 + 16 + 1)

void backup_manifest_fini(struct backup_manifest *manifest)
{
	free(manifest->files);
	*manifest = (struct backup_manifest){ .files = NULL };
}

bool backup_name_is_valid(const char *name, uint32_t bytes_max)
{
	size_t count = strnlen(name, (size_t)bytes_max + 1);
	if (count == 0 || count > bytes_max || name[0] == '.' || name[0] == '-')
		return false;
	return strspn(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-") ==
	       count;
}

int backup_manifest_add(struct backup_manifest *manifest, struct backup_file file)
{
	if (manifest->files_count == BACKUP_FILES_MAX)
		return -E2BIG;
	if (manifest->files_count == manifest->files_capacity) {
		uint32_t capacity = manifest->files_capacity ? manifest->files_capacity * 2 : 64;
		struct backup_file *files = realloc(manifest->files, capacity * sizeof(*files));
		if (!files)
			return -ENOMEM;
		manifest->files = files;
		manifest->files_capacity = capacity;
	}
	manifest->files[manifest->files_count++] = file;
	return 0;
}

uint64_t backup_manifest_bytes(const struct backup_manifest *manifest)
{
	uint64_t bytes = 0;
	for (uint32_t i = 0; i < manifest->files_count; i++)
		if (__builtin_add_overflow(bytes, manifest->files[i].bytes, &bytes))
			return UINT64_MAX;
	return bytes;
}

static int manifest_compare_files(const void *a, const void *b)
{
	return strcmp(((const struct backup_file *)a)->name, ((const struct backup_file *)b)->name);
}

void backup_manifest_put(struct backup_manifest *manifest, struct buf *to)
{
	const struct backup_contents *contents = &manifest->contents;
	size_t first = to->count;
	if (manifest->files_count > 1)
		qsort(manifest->files, manifest->files_count, sizeof(*manifest->files),
		        manifest_compare_files);
	buf_printf(to, MANIFEST_FIRST " %d %d\n", BACKUP_MANIFEST_VERSION,
	        BACKUP_MANIFEST_VERSION_MIN);
	buf_printf(to, "name %s\n", manifest->name);
	buf_printf(to, "created %" PRIu64 "\n", contents->created_ns);
	buf_printf(to, "format %" PRIu32 " %" PRIu32 "\n", contents->format, contents->format_min);
	buf_printf(to, "batches %" PRIu64 "\n", contents->batches);
	buf_printf(to, "rows %" PRIu64 "\n", contents->rows);
	buf_printf(to, "samples %" PRIu64 "\n", contents->samples);
	buf_printf(to, "windows %" PRIu64 "\n", contents->windows);
	buf_printf(to, "files %" PRIu32 "\n", manifest->files_count);
	for (uint32_t i = 0; i < manifest->files_count; i++)
		buf_printf(to, "file %" PRIu64 " %016" PRIx64 " %s\n", manifest->files[i].bytes,
		        manifest->files[i].hash, manifest->files[i].name);
	if (!to->failed)
		buf_printf(to, MANIFEST_CHECKSUM "%016" PRIx64 "\n",
		        hash64_bytes(to->bytes + first, to->count - first));
}

/* ---- reading ---- */

/* Sticky, as a reader: after a failure every read gives 0 or "". */
struct manifest_reader {
	const char *at;
	const char *end;
	bool failed;
};

/* The text must be next. */
static void manifest_expect(struct manifest_reader *reader, const char *text)
{
	size_t count = strlen(text);
	if (reader->failed || (size_t)(reader->end - reader->at) < count ||
	        memcmp(reader->at, text, count) != 0)
		reader->failed = true;
	else
		reader->at += count;
}

/* Decimal, without a sign or a zero in front. */
static uint64_t manifest_number(struct manifest_reader *reader, uint64_t max)
{
	uint64_t value = 0;
	const char *first = reader->at;
	while (!reader->failed && reader->at < reader->end && *reader->at >= '0' &&
	        *reader->at <= '9') {
		if (__builtin_mul_overflow(value, 10, &value) ||
		        __builtin_add_overflow(value, (uint64_t)(*reader->at - '0'), &value))
			reader->failed = true;
		reader->at++;
	}
	if (reader->at == first || value > max || (*first == '0' && reader->at - first > 1))
		reader->failed = true;
	return reader->failed ? 0 : value;
}

static uint64_t manifest_hash(struct manifest_reader *reader)
{
	static const char digits[] = "0123456789abcdef";
	uint64_t value = 0;
	for (int i = 0; i < 16 && !reader->failed; i++) {
		const char *digit = reader->at < reader->end && *reader->at
		                            ? strchr(digits, *reader->at)
		                            : NULL;
		if (!digit)
			reader->failed = true;
		else
			value = value << 4 | (uint64_t)(digit - digits);
		reader->at += !reader->failed;
	}
	return value;
}

/* To the end of the line, which stays. */
static void manifest_name(struct manifest_reader *reader, char *ret_name, uint32_t bytes_max)
{
	size_t left = (size_t)(reader->end - reader->at);
	const char *end = reader->failed || left == 0 ? NULL : memchr(reader->at, '\n', left);
	size_t count = end ? (size_t)(end - reader->at) : 0;
	ret_name[0] = 0;
	if (count == 0 || count > bytes_max) {
		reader->failed = true;
		return;
	}
	memcpy(ret_name, reader->at, count);
	ret_name[count] = 0;
	reader->at += count;
	if (strlen(ret_name) != count || !backup_name_is_valid(ret_name, bytes_max))
		reader->failed = true;
}

static uint64_t manifest_line(struct manifest_reader *reader, const char *key)
{
	manifest_expect(reader, key);
	uint64_t value = manifest_number(reader, UINT64_MAX);
	manifest_expect(reader, "\n");
	return value;
}

static int manifest_get_files(struct manifest_reader *reader, struct backup_manifest *manifest)
{
	uint64_t count = manifest_line(reader, "files ");
	if (count > BACKUP_FILES_MAX)
		return -EBADMSG;
	for (uint64_t i = 0; i < count && !reader->failed; i++) {
		struct backup_file file = { .bytes = 0 };
		manifest_expect(reader, "file ");
		file.bytes = manifest_number(reader, UINT64_MAX);
		manifest_expect(reader, " ");
		file.hash = manifest_hash(reader);
		manifest_expect(reader, " ");
		manifest_name(reader, file.name, BACKUP_FILE_BYTES_MAX);
		manifest_expect(reader, "\n");
		if (i > 0 && manifest_compare_files(&manifest->files[i - 1], &file) >= 0)
			reader->failed = true;
		int r = reader->failed ? 0 : backup_manifest_add(manifest, file);
		if (r < 0)
			return r;
	}
	return 0;
}

static int manifest_read(struct manifest_reader *reader, struct backup_manifest *manifest)
{
	struct backup_contents *contents = &manifest->contents;
	manifest_expect(reader, MANIFEST_FIRST " ");
	uint64_t version = manifest_number(reader, UINT32_MAX);
	manifest_expect(reader, " ");
	uint64_t version_min = manifest_number(reader, UINT32_MAX);
	manifest_expect(reader, "\n");
	if (!reader->failed && version_min > BACKUP_MANIFEST_VERSION)
		return -EPROTONOSUPPORT;
	if (version == 0 || version_min == 0 || version_min > version)
		reader->failed = true;
	manifest_expect(reader, "name ");
	manifest_name(reader, manifest->name, BACKUP_NAME_BYTES_MAX);
	manifest_expect(reader, "\n");
	contents->created_ns = manifest_line(reader, "created ");
	manifest_expect(reader, "format ");
	contents->format = (uint32_t)manifest_number(reader, UINT32_MAX);
	manifest_expect(reader, " ");
	contents->format_min = (uint32_t)manifest_number(reader, UINT32_MAX);
	manifest_expect(reader, "\n");
	contents->batches = manifest_line(reader, "batches ");
	contents->rows = manifest_line(reader, "rows ");
	contents->samples = manifest_line(reader, "samples ");
	contents->windows = manifest_line(reader, "windows ");
	int r = manifest_get_files(reader, manifest);
	if (r == 0 && (reader->failed || reader->at != reader->end))
		r = -EBADMSG;
	return r;
}

int backup_manifest_get(const void *bytes, size_t count, struct backup_manifest *manifest)
{
	const char *text = bytes;
	if (count < MANIFEST_LAST_BYTES || count > BACKUP_MANIFEST_BYTES_MAX)
		return -EBADMSG;
	size_t covered = count - MANIFEST_LAST_BYTES;
	struct manifest_reader last = { text + covered, text + count, false };
	manifest_expect(&last, MANIFEST_CHECKSUM);
	uint64_t checksum = manifest_hash(&last);
	manifest_expect(&last, "\n");
	if (last.failed || checksum != hash64_bytes(text, covered))
		return -EBADMSG;
	struct manifest_reader reader = { text, text + covered, false };
	int r = manifest_read(&reader, manifest);
	if (r < 0)
		backup_manifest_fini(manifest);
	return r;
}
