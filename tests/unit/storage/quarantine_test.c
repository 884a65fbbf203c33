/* What is in, what is passed over, when it is looked at again, and what lets it out. */

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "storage/quarantine.h"
#include "tests/lib/test.h"

#define NOON (UINT64_C(1700000000) * NS_PER_S)

static struct key_block block_of(uint64_t from_ns, uint32_t unit, enum keys_block_part part)
{
	return (struct key_block){
		.window = { .from_ns = from_ns, .to_ns = from_ns + 600 * NS_PER_S },
		.unit = unit,
		.part = part,
	};
}

static struct quarantine_key detail(
        uint8_t bytes[KEYS_BLOCK_BYTES], uint64_t from_ns, uint32_t unit)
{
	keys_put_block(block_of(from_ns, unit, KEYS_BLOCK_DETAIL), bytes);
	return (struct quarantine_key){ KV_DETAIL, { bytes, KEYS_BLOCK_BYTES } };
}

static void shut_blocks_are_passed_over_for_an_hour(void **state)
{
	AUTO(quarantine) quarantine = quarantine_new(8);
	uint8_t bytes[KEYS_BLOCK_BYTES];
	uint8_t other_bytes[KEYS_BLOCK_BYTES];
	struct quarantine_key key = detail(bytes, NOON, 1);
	struct quarantine_key other = detail(other_bytes, NOON, 2);
	int reason = 0;
	assert_int_equal(quarantine_meet(quarantine, key, NOON, &reason), QUARANTINE_READ);
	quarantine_note(quarantine, key, -EBADMSG, true, NOON);
	assert_int_equal(quarantine_meet(quarantine, other, NOON, &reason), QUARANTINE_READ);
	assert_int_equal(reason, 0);
	assert_int_equal(
	        quarantine_meet(quarantine, key, NOON + QUARANTINE_LOOK_AGAIN_NS - 1, &reason),
	        QUARANTINE_PASS_OVER);
	assert_int_equal(reason, -EBADMSG);
	uint64_t later = NOON + QUARANTINE_LOOK_AGAIN_NS;
	assert_int_equal(quarantine_meet(quarantine, key, later, &reason), QUARANTINE_LOOK_AGAIN);
	/* Still damaged: another hour. */
	quarantine_note(quarantine, key, -EPROTONOSUPPORT, true, later);
	assert_int_equal(quarantine_meet(quarantine, key, later, &reason), QUARANTINE_PASS_OVER);
	assert_int_equal(reason, -EPROTONOSUPPORT);
	/* A clock that was set back does not shut it for longer. */
	assert_int_equal(quarantine_meet(quarantine, key, NOON, &reason), QUARANTINE_LOOK_AGAIN);
	quarantine_lift(quarantine, key);
	assert_int_equal(quarantine_meet(quarantine, key, later, &reason), QUARANTINE_READ);
	assert_int_equal(quarantine_count(quarantine), 0);
}

static void what_can_be_read_in_part_is_read_each_time(void **state)
{
	AUTO(quarantine) quarantine = quarantine_new(8);
	uint8_t bytes[KEYS_BLOCK_BYTES];
	struct quarantine_key key = detail(bytes, NOON, 1);
	int reason = 0;
	quarantine_note(quarantine, key, -EBADMSG, false, NOON);
	assert_int_equal(quarantine_count(quarantine), 1);
	assert_int_equal(quarantine_meet(quarantine, key, NOON, &reason), QUARANTINE_READ);
	quarantine_note(quarantine, key, -EBADMSG, true, NOON);
	assert_int_equal(quarantine_meet(quarantine, key, NOON, &reason), QUARANTINE_PASS_OVER);
	assert_int_equal(quarantine_count(quarantine), 1);
}

static void a_window_that_goes_takes_its_blocks_and_no_others(void **state)
{
	AUTO(quarantine) quarantine = quarantine_new(8);
	uint8_t bytes[4][KEYS_BLOCK_BYTES];
	struct key_block sums = block_of(NOON, 3, KEYS_BLOCK_SUMS);
	struct quarantine_key kept = detail(bytes[1], NOON + 600 * NS_PER_S, 1);
	int reason = 0;
	quarantine_note(quarantine, detail(bytes[0], NOON, 1), -EBADMSG, true, NOON);
	quarantine_note(quarantine, kept, -EBADMSG, true, NOON);
	keys_put_block(sums, bytes[2]);
	quarantine_note(quarantine,
	        (struct quarantine_key){ KV_SUMS, { bytes[2], KEYS_BLOCK_BYTES } }, -EBADMSG, true,
	        NOON);
	keys_put_window(sums.window, bytes[3]);
	quarantine_note(quarantine,
	        (struct quarantine_key){ KV_WINDOW, { bytes[3], KEYS_WINDOW_BYTES } }, -EBADMSG,
	        true, NOON);
	assert_int_equal(quarantine_count(quarantine), 4);
	quarantine_lift_window(quarantine, sums.window);
	assert_int_equal(quarantine_count(quarantine), 1);
	assert_int_equal(quarantine_meet(quarantine, kept, NOON, &reason), QUARANTINE_PASS_OVER);
	quarantine_clear(quarantine);
	assert_int_equal(quarantine_count(quarantine), 0);
}

static void a_range_that_goes_takes_what_is_in_it(void **state)
{
	AUTO(quarantine) quarantine = quarantine_new(8);
	uint8_t from[KEYS_TIME_BYTES];
	uint8_t to[KEYS_TIME_BYTES];
	for (uint64_t i = 0; i < 4; i++) {
		uint8_t bytes[KEYS_BATCH_BYTES];
		keys_put_batch((struct key_batch){ NOON + i, 1, 1 }, bytes);
		quarantine_note(quarantine,
		        (struct quarantine_key){ KV_BATCH, { bytes, sizeof(bytes) } }, -EBADMSG,
		        false, NOON);
	}
	keys_put_time(NOON + 1, from);
	keys_put_time(NOON + 3, to);
	quarantine_lift_range(quarantine, KV_AGENT, (struct kv_bytes){ from, sizeof(from) },
	        (struct kv_bytes){ to, sizeof(to) });
	assert_int_equal(quarantine_count(quarantine), 4);
	quarantine_lift_range(quarantine, KV_BATCH, (struct kv_bytes){ from, sizeof(from) },
	        (struct kv_bytes){ to, sizeof(to) });
	assert_int_equal(quarantine_count(quarantine), 2);
}

static void what_finds_no_room_is_counted(void **state)
{
	AUTO(quarantine) quarantine = quarantine_new(40);
	uint8_t bytes[KEYS_BLOCK_BYTES];
	int reason = 0;
	for (uint32_t i = 0; i < 50; i++)
		quarantine_note(quarantine, detail(bytes, NOON, i), -EBADMSG, true, NOON);
	quarantine_note(quarantine, detail(bytes, NOON, 0), -EBADMSG, true, NOON);
	assert_int_equal(quarantine_count(quarantine), 40);
	assert_int_equal(quarantine_overflow(quarantine), 10);
	for (uint32_t i = 0; i < 50; i++)
		assert_int_equal(quarantine_meet(quarantine, detail(bytes, NOON, i), NOON, &reason),
		        i < 40 ? QUARANTINE_PASS_OVER : QUARANTINE_READ);
	/* Room that was given back is used again, and the rest is still found. */
	for (uint32_t i = 0; i < 40; i += 2)
		quarantine_lift(quarantine, detail(bytes, NOON, i));
	quarantine_note(quarantine, detail(bytes, NOON, 45), -EBADMSG, true, NOON);
	for (uint32_t i = 0; i < 50; i++)
		assert_int_equal(quarantine_meet(quarantine, detail(bytes, NOON, i), NOON, &reason),
		        (i < 40 && i % 2 == 1) || i == 45 ? QUARANTINE_PASS_OVER : QUARANTINE_READ);
	/* A key that none of ours is. */
	static const uint8_t longest[KEYS_SYMBOLS_BYTES_MAX + 1];
	quarantine_note(quarantine,
	        (struct quarantine_key){ KV_SYMBOLS, { longest, sizeof(longest) } }, -EBADMSG,
	        false, NOON);
	assert_int_equal(quarantine_overflow(quarantine), 11);
}

static void each_is_named_once_and_readably(void **state)
{
	AUTO(quarantine) quarantine = quarantine_new(8);
	struct quarantine_record records[8];
	uint8_t bytes[KEYS_BLOCK_BYTES];
	int reason = 0;
	struct quarantine_key key = detail(bytes, NOON, 7);
	quarantine_note(quarantine, key, -EBADMSG, true, NOON);
	assert_int_equal(
	        quarantine_meet(quarantine, key, NOON + NS_PER_S, &reason), QUARANTINE_PASS_OVER);
	quarantine_note(quarantine, (struct quarantine_key){ KV_WINDOW, { "odd \x01", 5 } },
	        -EPROTONOSUPPORT, false, NOON);
	assert_int_equal(quarantine_take(quarantine, NOON, records, 1), 1);
	assert_string_equal(records[0].family, "detail");
	assert_string_equal(records[0].key, "2023-11-14T22:13:20Z to 2023-11-14T22:23:20Z level 0 "
	                                    "number 0 unit 7 part d chunk 0");
	assert_int_equal(records[0].reason, -EBADMSG);
	assert_int_equal(records[0].times, 2);
	assert_int_equal(records[0].first_ns, NOON);
	assert_int_equal(records[0].last_ns, NOON + NS_PER_S);
	assert_int_equal(quarantine_take(quarantine, NOON, records, 8), 1);
	assert_string_equal(records[0].family, "window");
	assert_string_equal(records[0].key, "odd\\x20\\x01");
	assert_int_equal(quarantine_take(quarantine, NOON, records, 8), 0);
	/* What nobody meets for a week is forgotten, and named again when it comes back. */
	uint64_t later = NOON + NS_PER_S + QUARANTINE_FORGET_NS;
	assert_int_equal(quarantine_take(quarantine, later, records, 8), 0);
	assert_int_equal(quarantine_count(quarantine), 0);
	quarantine_note(quarantine, key, -EBADMSG, true, later);
	assert_int_equal(quarantine_take(quarantine, later, records, 8), 1);
	assert_int_equal(records[0].times, 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(shut_blocks_are_passed_over_for_an_hour),
		cmocka_unit_test(what_can_be_read_in_part_is_read_each_time),
		cmocka_unit_test(a_window_that_goes_takes_its_blocks_and_no_others),
		cmocka_unit_test(a_range_that_goes_takes_what_is_in_it),
		cmocka_unit_test(what_finds_no_room_is_counted),
		cmocka_unit_test(each_is_named_once_and_readably),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
