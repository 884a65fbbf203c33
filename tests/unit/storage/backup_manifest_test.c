/* The manifest of a backup: its text is fixed, comes back as it was, and nothing else is taken. */

#include "storage/backup_manifest.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "core/hash.h"
#include "tests/lib/test.h"

static void fill(struct backup_manifest *manifest)
{
	static const struct backup_file files[] = {
		{ "MANIFEST-000005", 1234, 0x0123456789abcdef },
		{ "000012.sst", 567890, 0xffffffffffffffff },
		{ "CURRENT", 16, 0 },
	};
	snprintf(manifest->name, sizeof(manifest->name), "nightly-2026.11_25");
	manifest->contents = (struct backup_contents){
		.created_ns = 1764095000123456789,
		.format = 2,
		.format_min = 1,
		.batches = 11,
		.rows = 222,
		.samples = 3333,
		.windows = 4,
	};
	for (size_t i = 0; i < COUNT_OF(files); i++)
		CHECK_OK(backup_manifest_add(manifest, files[i]));
}

static void its_text_is_the_golden_one_and_reads_back(void **state)
{
	AUTO_BACKUP_MANIFEST manifest = { .files = NULL };
	AUTO_BACKUP_MANIFEST read = { .files = NULL };
	AUTO_BUF text = { 0 };
	AUTO_BUF again = { 0 };
	char golden[4096];
	fill(&manifest);
	backup_manifest_put(&manifest, &text);
	assert_false(text.failed);
	FILE *file = fopen("tests/golden/backup_v1.txt", "re");
	assert_non_null(file);
	size_t count = fread(golden, 1, sizeof(golden), file);
	(void)fclose(file);
	if (count != text.count || memcmp(golden, text.bytes, count) != 0)
		fail_msg("%.*s", (int)text.count, (const char *)text.bytes);

	CHECK_OK(backup_manifest_get(golden, count, &read));
	assert_string_equal(read.name, "nightly-2026.11_25");
	assert_int_equal(read.contents.created_ns, 1764095000123456789);
	assert_int_equal(read.contents.samples, 3333);
	assert_int_equal(read.files_count, 3);
	assert_string_equal(read.files[0].name, "000012.sst"); /* by name */
	assert_int_equal(read.files[0].hash, UINT64_MAX);
	assert_int_equal(backup_manifest_bytes(&read), 1234 + 567890 + 16);
	backup_manifest_put(&read, &again);
	assert_int_equal(again.count, text.count);
	assert_memory_equal(again.bytes, text.bytes, text.count);
}

static void every_changed_byte_and_every_cut_is_refused(void **state)
{
	AUTO_BACKUP_MANIFEST manifest = { .files = NULL };
	AUTO_BUF text = { 0 };
	fill(&manifest);
	backup_manifest_put(&manifest, &text);
	for (size_t at = 0; at < text.count; at++) {
		AUTO_BACKUP_MANIFEST read = { .files = NULL };
		for (int bit = 0; bit < 8; bit++) {
			text.bytes[at] ^= (uint8_t)(1u << bit);
			CHECK(backup_manifest_get(text.bytes, text.count, &read) == -EBADMSG);
			text.bytes[at] ^= (uint8_t)(1u << bit);
		}
		CHECK(backup_manifest_get(text.bytes, at, &read) == -EBADMSG);
	}
}

/* Replaces, and makes the checksum fit again. */
static int get_with(const char *old, const char *new)
{
	AUTO_BACKUP_MANIFEST manifest = { .files = NULL };
	AUTO_BACKUP_MANIFEST read = { .files = NULL };
	AUTO_BUF text = { 0 };
	AUTO_BUF changed = { 0 };
	fill(&manifest);
	backup_manifest_put(&manifest, &text);
	buf_put_u8(&text, 0);
	const char *at = strstr((const char *)text.bytes, old);
	const char *end = strstr((const char *)text.bytes, "checksum");
	assert_non_null(at);
	buf_put(&changed, text.bytes, (size_t)(at - (const char *)text.bytes));
	buf_put(&changed, new, strlen(new));
	buf_put(&changed, at + strlen(old), (size_t)(end - at) - strlen(old));
	buf_printf(&changed, "checksum %016lx\n",
	        (unsigned long)hash64_bytes(changed.bytes, changed.count));
	return backup_manifest_get(changed.bytes, changed.count, &read);
}

static void what_no_writer_writes_is_refused_even_with_its_checksum(void **state)
{
	static const struct {
		const char *old;
		const char *new;
		int result;
	} cases[] = {
		{ "backup 1 1", "backup 1 1", 0 },
		{ "backup 1 1", "backup 2 1", 0 },
		{ "backup 1 1", "backup 2 2", -EPROTONOSUPPORT },
		{ "backup 1 1", "backup 0 0", -EBADMSG },
		{ "backup 1 1", "backup 1 2", -EPROTONOSUPPORT },
		{ "CURRENT", "../CURRENT", -EBADMSG },
		{ "CURRENT", "/etc/passwd", -EBADMSG },
		{ "CURRENT", ".hidden", -EBADMSG },
		{ "CURRENT", "000012.sst", -EBADMSG }, /* twice */
		{ "CURRENT", "000001.sst", -EBADMSG }, /* not in order */
		{ "name nightly", "name /nightly", -EBADMSG },
		{ "name nightly", "name -rf", -EBADMSG },
		{ "rows 222", "rows 0222", -EBADMSG },
		{ "rows 222", "rows -1", -EBADMSG },
		{ "rows 222", "rows ", -EBADMSG },
		{ "rows 222", "rows 18446744073709551615", 0 },
		{ "rows 222", "rows 18446744073709551616", -EBADMSG },
		{ "files 3", "files 4", -EBADMSG },
		{ "files 3", "files 2", -EBADMSG },
		{ "files 3", "files 4294967295", -EBADMSG },
		{ "0123456789abcdef", "0123456789ABCDEF", -EBADMSG },
		{ "0123456789abcdef", "0123456789abcde", -EBADMSG },
	};
	for (size_t i = 0; i < COUNT_OF(cases); i++) {
		int r = get_with(cases[i].old, cases[i].new);
		if (r != cases[i].result)
			fail_msg("%s -> %s: %d", cases[i].old, cases[i].new, r);
	}
}

static void names_are_names_and_never_paths(void **state)
{
	static const char *const good[] = { "a", "nightly", "2026-11-25T18.40", "A_b-c.9" };
	static const char *const bad[] = { "", ".", "..", ".a", "-a", "a/b", "/", "a b", "a\n",
		"\xc3\xa4", "a:b", "a\\b" };
	char longest[BACKUP_NAME_BYTES_MAX + 2];
	for (size_t i = 0; i < COUNT_OF(good); i++)
		CHECK(backup_name_is_valid(good[i], BACKUP_NAME_BYTES_MAX));
	for (size_t i = 0; i < COUNT_OF(bad); i++)
		CHECK(!backup_name_is_valid(bad[i], BACKUP_NAME_BYTES_MAX));
	memset(longest, 'x', sizeof(longest));
	longest[BACKUP_NAME_BYTES_MAX + 1] = 0;
	CHECK(!backup_name_is_valid(longest, BACKUP_NAME_BYTES_MAX));
	longest[BACKUP_NAME_BYTES_MAX] = 0;
	CHECK(backup_name_is_valid(longest, BACKUP_NAME_BYTES_MAX));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(its_text_is_the_golden_one_and_reads_back),
		cmocka_unit_test(every_changed_byte_and_every_cut_is_refused),
		cmocka_unit_test(what_no_writer_writes_is_refused_even_with_its_checksum),
		cmocka_unit_test(names_are_names_and_never_paths),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
