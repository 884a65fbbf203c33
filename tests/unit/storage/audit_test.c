/*
 * The audit log: a document and the record of its change are there together; records are chained;
 * whatever is done to one of them afterwards is found and named. tests/golden/audit_v1.hex has the
 * bytes of one record.
 */

#include "tests/lib/test.h"

#include <ctype.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "core/clock.h"
#include "storage/audit.h"
#include "storage/record.h"
#include "storage/store_verify.h"
#include "tests/unit/storage/store_fixture.h"

#define GOLDEN "tests/golden/audit_v1.hex"

static struct audit_entry entry_of(const char *action)
{
	return (struct audit_entry){ .actor = "me@here",
		.origin = "127.0.0.1:4000",
		.request = "r1",
		.action = action,
		.before = "aa",
		.after = "bb",
		.bytes = 300,
		.details = "{\"a\":1}" };
}

static int print_record(void *owner, uint64_t seq, const struct audit_record *record)
{
	struct buf *to = owner;
	if (!record)
		buf_printf(to, "%lu damaged\n", (unsigned long)seq);
	else
		buf_printf(to, "%lu %.*s %.*s %lu\n", (unsigned long)seq, (int)record->action.count,
		        record->action.bytes, (int)record->actor.count, record->actor.bytes,
		        (unsigned long)record->bytes);
	return 0;
}

static int print_name(void *owner, const char *name)
{
	buf_printf(owner, "%s\n", name);
	return 0;
}

static void documents_and_records_survive_together(void **state)
{
	TEST_DIR(dir);
	struct store *store = store_fixture_open(dir.path);
	struct audit_document documents[] = {
		{ "policies", "one", 3 },
		{ "run/1", "x", 1 },
	};
	struct audit_entry entry = entry_of("retention.set");
	uint64_t seq = 0;
	CHECK_OK(store_administer(store, documents, 2, &entry, &seq));
	assert_int_equal(seq, 1);
	documents[0].bytes = "two!";
	documents[0].count = 4;
	documents[1].bytes = NULL;
	entry.action = "retention.apply";
	CHECK_OK(store_administer(store, documents, 2, &entry, &seq));
	assert_int_equal(seq, 2);
	CHECK_OK(
	        store_administer(store, &(struct audit_document){ "clock", "", 0 }, 1, NULL, NULL));
	store_free(store);

	store = store_fixture_open(dir.path);
	AUTO_BUF text = { 0 };
	AUTO_BUF records = { 0 };
	AUTO_BUF names = { 0 };
	CHECK_OK(store_document_get(store, "policies", &text));
	assert_int_equal(text.count, 4);
	assert_memory_equal(text.bytes, "two!", 4);
	assert_int_equal(store_document_get(store, "run/1", &text), -ENOENT);
	CHECK_OK(store_audit(store, 1, print_record, &records));
	buf_put_u8(&records, 0);
	assert_string_equal((char *)records.bytes,
	        "1 retention.set me@here 300\n2 retention.apply me@here 300\n");
	CHECK_OK(store_documents(store, "", print_name, &names));
	buf_put_u8(&names, 0);
	assert_string_equal((char *)names.bytes, "clock\npolicies\n");

	struct audit_verified verified;
	CHECK_OK(store_audit_verify(store, NULL, &verified));
	assert_int_equal(verified.records, 2);
	assert_int_equal(verified.broken_seq, 0);
	store_free(store);
}

static void names_and_sizes_past_the_limits_are_refused(void **state)
{
	TEST_DIR(dir);
	struct store *store = store_fixture_open(dir.path);
	char name[200];
	memset(name, 'n', sizeof(name) - 1);
	name[sizeof(name) - 1] = 0;
	struct audit_entry entry = entry_of("x");
	assert_int_equal(
	        store_administer(store, &(struct audit_document){ name, "", 0 }, 1, &entry, NULL),
	        -EINVAL);
	assert_int_equal(
	        store_administer(store, &(struct audit_document){ "", "", 0 }, 1, &entry, NULL),
	        -EINVAL);
	struct audit_verified verified;
	CHECK_OK(store_audit_verify(store, NULL, &verified));
	assert_int_equal(verified.records, 0);
	store_free(store);
}

/* Records are taken away from the end, which leaves a chain that is whole. */
static void what_was_noted_is_missed_where_the_end_was_cut_off(void **state)
{
	TEST_DIR(dir);
	struct store *store = store_fixture_open(dir.path);
	struct audit_verified verified, noted;
	struct sha256 never = { { 1 } };
	uint8_t from[AUDIT_KEY_BYTES], to[AUDIT_KEY_BYTES];
	char error[256];
	for (int i = 0; i < 3; i++) {
		struct audit_entry entry = entry_of("retention.set");
		CHECK_OK(store_administer(store, NULL, 0, &entry, NULL));
		if (i == 1)
			CHECK_OK(store_audit_verify(store, NULL, &noted));
	}
	assert_false(noted.has_noted);
	CHECK_OK(store_audit_verify(store, &noted.last_hash, &verified));
	assert_true(verified.has_noted);
	assert_int_equal(verified.noted_seq, 2);
	assert_int_equal(verified.last_seq, 3);
	CHECK_OK(store_audit_verify(store, &never, &verified));
	assert_false(verified.has_noted);
	store_free(store);

	struct kv *kv;
	CHECK_OK(kv_open((struct kv_options){ .path = dir.path, .memtables_bytes = 8 << 20 }, &kv,
	        error, sizeof(error)));
	AUTO(kv_batch) write = kv_batch_new();
	audit_put_key(2, from);
	audit_put_key(4, to);
	kv_delete_range(kv, write, KV_ADMIN, (struct kv_bytes){ from, sizeof(from) },
	        (struct kv_bytes){ to, sizeof(to) });
	CHECK_OK(kv_write(kv, write, KV_SYNC));
	kv_free(kv);

	store = store_fixture_open(dir.path);
	CHECK_OK(store_audit_verify(store, &noted.last_hash, &verified));
	assert_int_equal(verified.broken_seq, 0);
	assert_int_equal(verified.last_seq, 1);
	assert_false(verified.has_noted);
	store_free(store);
}

static int note_finding(void *owner, const struct store_finding *finding)
{
	(void)owner;
	assert_string_equal(finding->family, "admin");
	assert_non_null(strstr(finding->key, "audit record "));
	return 0;
}

/* Three records, then one of them is changed behind the store's back. */
static void check_tampering(
        void (*tamper)(struct kv *kv, struct kv_batch *write), uint64_t seq, const char *why)
{
	TEST_DIR(dir);
	struct store *store = store_fixture_open(dir.path);
	for (int i = 0; i < 3; i++) {
		struct audit_entry entry = entry_of("retention.set");
		CHECK_OK(store_administer(store, NULL, 0, &entry, NULL));
	}
	store_free(store);

	struct kv *kv;
	char error[256];
	CHECK_OK(kv_open((struct kv_options){ .path = dir.path, .memtables_bytes = 8 << 20 }, &kv,
	        error, sizeof(error)));
	AUTO(kv_batch) write = kv_batch_new();
	tamper(kv, write);
	CHECK_OK(kv_write(kv, write, KV_SYNC));
	kv_free(kv);

	struct store_verify_options options = { .path = dir.path, .found = note_finding };
	struct store_verify_summary summary;
	CHECK_OK(store_verify(&options, &summary, error, sizeof(error)));
	assert_int_equal(summary.damaged, 1);

	store = store_fixture_open(dir.path);
	struct audit_verified verified;
	CHECK_OK(store_audit_verify(store, NULL, &verified));
	assert_int_equal(verified.broken_seq, seq);
	if (!strstr(verified.why, why))
		fail_msg("%s", verified.why);
	/* Administration goes on, and the damage stays named. */
	struct audit_entry entry = entry_of("retention.set");
	CHECK_OK(store_administer(store, NULL, 0, &entry, NULL));
	CHECK_OK(store_audit_verify(store, NULL, &verified));
	assert_int_equal(verified.broken_seq, seq);
	store_free(store);
}

static void flip(struct kv *kv, struct kv_batch *write)
{
	uint8_t key_bytes[AUDIT_KEY_BYTES];
	struct kv_bytes key = { key_bytes, sizeof(key_bytes) };
	AUTO_BUF value = { 0 };
	audit_put_key(2, key_bytes);
	CHECK_OK(kv_get(kv, KV_ADMIN, key, &value));
	value.bytes[value.count / 2] ^= 1;
	kv_put(kv, write, KV_ADMIN, key, (struct kv_bytes){ value.bytes, value.count });
}

/* A record that is right by itself: somebody who knows the format. */
static void forge(struct kv *kv, struct kv_batch *write)
{
	uint8_t key_bytes[AUDIT_KEY_BYTES];
	struct kv_bytes key = { key_bytes, sizeof(key_bytes) };
	AUTO_BUF value = { 0 };
	AUTO_BUF forged = { 0 };
	struct audit_record record;
	audit_put_key(2, key_bytes);
	CHECK_OK(kv_get(kv, KV_ADMIN, key, &value));
	CHECK_OK(audit_get(key, (struct kv_bytes){ value.bytes, value.count }, &record));
	record.actor = (struct audit_text){ "you@there", 9 };
	CHECK_OK(audit_put(&record, key, &forged));
	kv_put(kv, write, KV_ADMIN, key, (struct kv_bytes){ forged.bytes, forged.count });
}

static void cut_out(struct kv *kv, struct kv_batch *write)
{
	uint8_t from[AUDIT_KEY_BYTES], to[AUDIT_KEY_BYTES];
	audit_put_key(2, from);
	audit_put_key(3, to);
	kv_delete_range(kv, write, KV_ADMIN, (struct kv_bytes){ from, sizeof(from) },
	        (struct kv_bytes){ to, sizeof(to) });
}

static void a_changed_forged_or_missing_record_is_named(void **state)
{
	check_tampering(flip, 2, "record 2 cannot be read");
	check_tampering(forge, 3, "record 3 is not chained");
	check_tampering(cut_out, 2, "record 2 is missing");
}

/* Hex with comments into bytes. */
static void read_golden(struct buf *to)
{
	size_t count;
	char *text = test_file_read(GOLDEN, &count);
	int high = -1;
	for (char *at = text; *at; at++) {
		if (*at == '#')
			at += strcspn(at, "\n");
		if (!isxdigit((unsigned char)*at))
			continue;
		int digit = *at <= '9' ? *at - '0' : *at - 'a' + 10;
		if (high >= 0)
			buf_put_u8(to, (uint8_t)(high << 4 | digit));
		high = high < 0 ? digit : -1;
	}
	free(text);
}

static void the_bytes_of_version_1_stay(void **state)
{
	struct audit_record record = {
		.seq = 7,
		.unix_ns = UINT64_C(1700000000000000000),
		.actor = { "me@here", 7 },
		.origin = { "127.0.0.1:4000", 14 },
		.request = { "r1", 2 },
		.action = { "retention.set", 13 },
		.before = { "", 0 },
		.after = { "bb", 2 },
		.details = { "{}", 2 },
		.bytes = 300,
	};
	memset(record.previous.bytes, 0x11, SHA256_BYTES);
	uint8_t key_bytes[AUDIT_KEY_BYTES];
	struct kv_bytes key = { key_bytes, sizeof(key_bytes) };
	AUTO_BUF bytes = { 0 };
	AUTO_BUF golden = { 0 };
	audit_put_key(7, key_bytes);
	CHECK_OK(audit_put(&record, key, &bytes));
	read_golden(&golden);
	if (golden.count != bytes.count || memcmp(golden.bytes, bytes.bytes, bytes.count) != 0) {
		for (size_t i = 0; i < bytes.count; i++)
			print_message("%02x%s", bytes.bytes[i], i % 16 == 15 ? "\n" : " ");
		fail_msg("not the bytes of %s", GOLDEN);
	}
	struct audit_record again;
	CHECK_OK(audit_get(key, (struct kv_bytes){ golden.bytes, golden.count }, &again));
	assert_int_equal(again.bytes, 300);
	assert_memory_equal(again.origin.bytes, "127.0.0.1:4000", 14);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_was_noted_is_missed_where_the_end_was_cut_off),
		cmocka_unit_test(documents_and_records_survive_together),
		cmocka_unit_test(names_and_sizes_past_the_limits_are_refused),
		cmocka_unit_test(a_changed_forged_or_missing_record_is_named),
		cmocka_unit_test(the_bytes_of_version_1_stay),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
