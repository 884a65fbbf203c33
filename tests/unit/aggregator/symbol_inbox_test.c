/* symbol_inbox: parts become a table only in order and only when the sizes fit. */

#include "aggregator/symbol_inbox.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "tests/lib/test.h"

static struct wire_symbols part_of(
        const char *build_id, uint32_t part, uint32_t parts, uint64_t total, const char *bytes)
{
	return (struct wire_symbols){
		.build_id = { .bytes = build_id, .count = (uint32_t)strlen(build_id) },
		.part = part,
		.parts = parts,
		.total_bytes = total,
		.bytes = (const uint8_t *)bytes,
		.count = (uint32_t)strlen(bytes),
	};
}

static void parts_make_a_table_in_order_only(void **state)
{
	(void)state;
	const struct {
		const char *what;
		struct wire_symbols parts[3];
		int results[3];
	} cases[] = {
		{ "in order", { part_of("a", 0, 2, 4, "ab"), part_of("a", 1, 2, 4, "cd") },
		        { 0, 1 } },
		{ "an empty table", { part_of("a", 0, 1, 0, "") }, { 1 } },
		{ "starts again", { part_of("a", 0, 2, 4, "ab"), part_of("a", 0, 1, 1, "x") },
		        { 0, 1 } },
		{ "one left out", { part_of("a", 0, 3, 6, "ab"), part_of("a", 2, 3, 6, "ef") },
		        { 0, -EBADMSG } },
		{ "never begun", { part_of("a", 1, 2, 4, "cd") }, { -EBADMSG } },
		{ "too short", { part_of("a", 0, 2, 4, "ab"), part_of("a", 1, 2, 4, "c") },
		        { 0, -EBADMSG } },
		{ "too long", { part_of("a", 0, 2, 3, "ab"), part_of("a", 1, 2, 3, "cd") },
		        { 0, -EBADMSG } },
		{ "no parts", { part_of("a", 0, 0, 4, "ab") }, { -EBADMSG } },
		{ "huge", { part_of("a", 0, 1, SYMBOL_INBOX_BYTES_MAX + 1u, "ab") }, { -E2BIG } },
	};

	for (size_t i = 0; i < COUNT_OF(cases); i++) {
		AUTO(symbol_inbox) inbox = symbol_inbox_new();
		assert_true(inbox);
		for (size_t j = 0; j < 3 && cases[i].parts[j].build_id.count; j++) {
			const struct buf *table = NULL;
			int r = symbol_inbox_add(inbox, &cases[i].parts[j], &table);
			if (r != cases[i].results[j])
				fprintf(stderr, "%s, part %zu: %d\n", cases[i].what, j, r);
			assert_true(r == cases[i].results[j]);
			if (r == 1)
				assert_true(table && table->count == cases[i].parts[j].total_bytes);
		}
	}
}

static void two_uploads_do_not_mix(void **state)
{
	(void)state;
	AUTO(symbol_inbox) inbox = symbol_inbox_new();
	const struct buf *table = NULL;
	struct wire_symbols parts[] = { part_of("a", 0, 2, 4, "a1"), part_of("b", 0, 2, 4, "b1"),
		part_of("b", 1, 2, 4, "b2"), part_of("a", 1, 2, 4, "a2") };
	assert_true(symbol_inbox_add(inbox, &parts[0], &table) == 0);
	assert_true(symbol_inbox_add(inbox, &parts[1], &table) == 0);
	assert_true(symbol_inbox_add(inbox, &parts[2], &table) == 1);
	assert_true(memcmp(table->bytes, "b1b2", 4) == 0);
	assert_true(symbol_inbox_add(inbox, &parts[3], &table) == 1);
	assert_true(memcmp(table->bytes, "a1a2", 4) == 0);
}

/* Sixteen half-sent tables of the largest size would be a gigabyte that nobody asked for. */
static void half_sent_tables_share_one_bound(void **state)
{
	(void)state;
	AUTO(symbol_inbox) inbox = symbol_inbox_new();
	const struct buf *table = NULL;
	const uint32_t half = SYMBOL_INBOX_BYTES_MAX / 2;
	autofree uint8_t *bytes = calloc(1, half);
	assert_true(inbox && bytes);
	static const char *const build_ids[] = { "a", "b", "c", "d", "e", "f" };

	for (size_t i = 0; i < COUNT_OF(build_ids); i++) {
		struct wire_symbols part = part_of(build_ids[i], 0, 2, 2 * half, "");
		part.bytes = bytes;
		part.count = half;
		assert_int_equal(symbol_inbox_add(inbox, &part, &table), 0);
	}
	/* Four of them fit: the first two were dropped, the newest gets through. */
	for (size_t i = 0; i < COUNT_OF(build_ids); i += 5) {
		struct wire_symbols part = part_of(build_ids[i], 1, 2, 2 * half, "");
		part.bytes = bytes;
		part.count = half;
		assert_int_equal(symbol_inbox_add(inbox, &part, &table), i == 0 ? -EBADMSG : 1);
	}
	assert_int_equal(table->count, 2 * half);
}

/* Whoever was dropped is asked again: what matters is that the newest upload always gets through.
 */
static void more_uploads_than_places_drop_the_longest_idle(void **state)
{
	(void)state;
	AUTO(symbol_inbox) inbox = symbol_inbox_new();
	const struct buf *table = NULL;
	char name[16];
	for (unsigned int i = 0; i <= SYMBOL_INBOX_UPLOADS_MAX; i++) {
		snprintf(name, sizeof(name), "id%u", i);
		struct wire_symbols first = part_of(name, 0, 2, 2, "x");
		assert_true(symbol_inbox_add(inbox, &first, &table) == 0);
	}
	struct wire_symbols dropped = part_of("id0", 1, 2, 2, "y");
	struct wire_symbols newest = part_of(name, 1, 2, 2, "y");
	assert_true(symbol_inbox_add(inbox, &newest, &table) == 1);
	assert_true(symbol_inbox_add(inbox, &dropped, &table) == -EBADMSG);
}

static void a_table_is_asked_for_once_and_again_after_a_while(void **state)
{
	(void)state;
	AUTO(symbol_inbox) inbox = symbol_inbox_new();
	assert_true(symbol_inbox_ask(inbox, "a", 1));
	assert_true(!symbol_inbox_ask(inbox, "a", 2));
	assert_true(symbol_inbox_ask(inbox, "b", 2));
	assert_true(symbol_inbox_ask(inbox, "a", 1 + SYMBOL_ASK_AGAIN_NS));
	assert_true(!symbol_inbox_ask(inbox, "a", 2 + SYMBOL_ASK_AGAIN_NS));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(parts_make_a_table_in_order_only),
		cmocka_unit_test(two_uploads_do_not_mix),
		cmocka_unit_test(half_sent_tables_share_one_bound),
		cmocka_unit_test(more_uploads_than_places_drop_the_longest_idle),
		cmocka_unit_test(a_table_is_asked_for_once_and_again_after_a_while),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
