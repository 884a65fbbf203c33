/*
 * delivery: every status an aggregator can answer, and random weather against the one law: what
 * went in arrived exactly once, or is counted.
 */

#include "agent/delivery.h"

#include <errno.h>
#include <stdlib.h>

#include "core/log.h"
#include "tests/unit/agent/fake_aggregator.h"

/* A sender and its aggregator, in a time of their own. */
struct pair {
	struct fake_aggregator *fake;
	struct clock_virtual clock;
	struct delivery *delivery;
	const char *path;
	uint64_t epoch;
	uint64_t bytes_max;
	char wanted[80];
};

static void note_wanted(void *owner, const char *build_id, size_t count)
{
	struct pair *pair = owner;

	snprintf(pair->wanted, sizeof(pair->wanted), "%.*s", (int)count, build_id);
}

static void say_state(void *owner, struct wire_agent_state *state)
{
	state->hz_milli = 49000;
	state->samples_taken = 1234;
	state->lost[LOSS_RING_FULL] = 5;
}

static void open_delivery(struct pair *pair)
{
	char error[256] = "";
	struct delivery_options options = {
		.shipper = {
			.address = "tcp://fake",
			.host = "web-1",
			.program = "test",
			.tenant = "acme",
			.uuid = { { 7, 7 } },
			.epoch = pair->epoch,
			.spool_path = pair->path,
			.spool_bytes_max = pair->bytes_max,
			.callbacks = { .owner = pair, .state = say_state },
			.clock = &pair->clock.clock,
			.transport = &pair->fake->transport,
			.seed = pair->epoch,
		},
		.wanted = note_wanted,
		.wanted_owner = pair,
	};

	if (delivery_new(options, &pair->delivery, error, sizeof(error)) < 0)
		fail_msg("%s", error);
}

static void pair_init(struct pair *pair, uint64_t seed)
{
	memset(pair, 0, sizeof(*pair));
	pair->fake = malloc(sizeof(*pair->fake));
	assert_non_null(pair->fake);
	fake_init(pair->fake, seed);
	clock_virtual_init(&pair->clock, 1700000000 * NS_PER_S);
	pair->epoch = 1000;
	pair->bytes_max = 1 << 20;
}

static void pair_fini(struct pair *pair)
{
	delivery_free(pair->delivery);
	fake_fini(pair->fake);
	free(pair->fake);
}

#define AUTO_PAIR __attribute__((cleanup(pair_fini))) struct pair

static uint64_t add(struct pair *pair, const char *service, uint64_t count, uint64_t lost)
{
	AUTO_BATCH made = made_simple(
	        pair->clock.now_unix_ns / NS_PER_S % 1000, service, count, lost);
	AUTO_BUF bytes = { 0 };

	batch_encode_whole(made.batch, &bytes);
	delivery_add(pair->delivery, bytes.bytes, bytes.count);
	return count + lost;
}

/* Steps until there is nothing to do or the time is over. */
static void run_until(struct pair *pair, uint64_t seconds)
{
	uint64_t end_ns = pair->clock.now_monotonic_ns + seconds * NS_PER_S;
	uint64_t due_ns = 0;

	for (uint32_t steps = 0; due_ns != DELIVERY_IDLE; steps++) {
		if (steps > 10000)
			fail_msg("it does not come to rest");
		due_ns = delivery_step(pair->delivery, 1000);
		if (due_ns > end_ns)
			break;
		if (due_ns > pair->clock.now_monotonic_ns)
			clock_virtual_advance(&pair->clock, due_ns - pair->clock.now_monotonic_ns);
	}
	if (pair->clock.now_monotonic_ns < end_ns)
		clock_virtual_advance(&pair->clock, end_ns - pair->clock.now_monotonic_ns);
}

static void a_batch_arrives_once_with_the_agent_s_state(void **state)
{
	AUTO_PAIR pair;
	pair_init(&pair, 1);
	open_delivery(&pair);

	add(&pair, "cart", 10, 2);
	add(&pair, "basket", 5, 0);
	run_until(&pair, 1);
	assert_true(delivery_is_done(pair.delivery));
	assert_int_equal(pair.fake->samples, 15);
	assert_int_equal(pair.fake->lost, 2);
	assert_int_equal(pair.fake->cart, 10);
	assert_int_equal(pair.fake->hellos, 1);
	assert_int_equal(pair.fake->pushes, 1);
	assert_int_equal(pair.fake->state.samples_taken, 1234);
	assert_int_equal(pair.fake->state.spool_samples, 15);
	assert_int_equal(pair.fake->state.lost[LOSS_RING_FULL], 5);

	struct shipper_state now = delivery_state(pair.delivery);
	assert_int_equal(now.samples_sent, 15);
	assert_int_equal(now.pushes, 1);
	assert_true(now.connected);
	assert_int_equal(now.clock_offset_ns, 0);
}

static void a_session_sends_what_it_knows_only_once(void **state)
{
	AUTO_PAIR pair;
	pair_init(&pair, 1);
	open_delivery(&pair);

	add(&pair, "cart", 10, 0);
	run_until(&pair, 10);
	uint64_t first = delivery_state(pair.delivery).bytes_sent;
	add(&pair, "cart", 10, 0);
	run_until(&pair, 10);
	uint64_t second = delivery_state(pair.delivery).bytes_sent - first;
	assert_int_equal(pair.fake->samples, 20);
	assert_int_equal(pair.fake->hellos, 1);
	assert_true(second < first);
}

static void a_lost_reply_is_a_dup_in_a_new_session(void **state)
{
	AUTO_PAIR pair;
	pair_init(&pair, 1);
	open_delivery(&pair);

	run_until(&pair, 1);
	pair.fake->drop_reply = 100;
	add(&pair, "cart", 10, 2);
	run_until(&pair, 1);
	assert_false(delivery_is_done(pair.delivery));
	pair.fake->drop_reply = 0;
	run_until(&pair, 60);
	assert_true(delivery_is_done(pair.delivery));
	assert_int_equal(pair.fake->samples, 10);
	assert_int_equal(pair.fake->lost, 2);
	assert_true(pair.fake->duplicates >= 1);
	assert_true(delivery_state(pair.delivery).failures >= 1);
}

static void a_forgotten_session_is_opened_again_at_once(void **state)
{
	AUTO_PAIR pair;
	pair_init(&pair, 1);
	open_delivery(&pair);

	add(&pair, "cart", 10, 0);
	run_until(&pair, 1);
	fake_forget_session(pair.fake);
	add(&pair, "cart", 11, 0);
	run_until(&pair, 0);
	assert_int_equal(pair.fake->samples, 21);
	assert_int_equal(pair.fake->hellos, 2);
	assert_int_equal(delivery_state(pair.delivery).resets, 1);
}

static void a_busy_aggregator_is_left_alone_as_long_as_it_asked(void **state)
{
	AUTO_PAIR pair;
	pair_init(&pair, 1);
	open_delivery(&pair);

	run_until(&pair, 1);
	pair.fake->busy_section = 100;
	add(&pair, "cart", 10, 0);
	uint64_t due_ns = delivery_step(pair.delivery, 1000);
	assert_true(due_ns >= pair.clock.now_monotonic_ns + 350 * NS_PER_MS);
	assert_int_equal(pair.fake->pushes, 1);
	assert_int_equal(delivery_step(pair.delivery, 1000), due_ns);
	assert_int_equal(pair.fake->pushes, 1);
	pair.fake->busy_section = 0;
	run_until(&pair, 10);
	assert_int_equal(pair.fake->samples, 10);
	assert_int_equal(pair.fake->hellos, 1);
}

static void a_refused_section_becomes_a_counted_loss(void **state)
{
	AUTO_PAIR pair;
	pair_init(&pair, 1);
	open_delivery(&pair);

	run_until(&pair, 1);
	pair.fake->reject_section = 100;
	add(&pair, "cart", 10, 2);
	(void)delivery_step(pair.delivery, 1000);
	pair.fake->reject_section = 0;
	run_until(&pair, 10);
	assert_true(delivery_is_done(pair.delivery));
	assert_int_equal(pair.fake->samples, 0);
	assert_int_equal(pair.fake->lost_by[LOSS_REJECTED], 10);
	assert_int_equal(pair.fake->lost_by[LOSS_RING_FULL], 2);
	assert_int_equal(delivery_state(pair.delivery).lost[LOSS_REJECTED], 10);
	assert_int_equal(delivery_state(pair.delivery).samples_sent, 0);
}

static void a_newer_aggregator_is_asked_again_after_a_while(void **state)
{
	static const uint32_t statuses[] = { WIRE_TOO_NEW, WIRE_INVALID };

	for (size_t i = 0; i < COUNT_OF(statuses); i++) {
		AUTO_PAIR pair;
		pair_init(&pair, 1);
		open_delivery(&pair);

		pair.fake->status_once = statuses[i];
		add(&pair, "cart", 10, 0);
		assert_true(delivery_step(pair.delivery, 1000) >
		            pair.clock.now_monotonic_ns + 29 * NS_PER_S);
		run_until(&pair, 200);
		assert_int_equal(pair.fake->samples, 10);
	}
}

static void every_refusal_of_a_message_is_survived(void **state)
{
	for (uint32_t status = WIRE_DUP; status <= WIRE_TOO_BIG + 1; status++) {
		for (int push = 0; push < 2; push++) {
			AUTO_PAIR pair;
			pair_init(&pair, status);
			open_delivery(&pair);

			if (push)
				run_until(&pair, 1);
			pair.fake->status_once = status;
			add(&pair, "cart", 10, 0);
			run_until(&pair, 200);
			assert_int_equal(pair.fake->samples, 10);
			assert_true(delivery_is_done(pair.delivery));
		}
	}
}

static void a_batch_that_nobody_can_read_does_not_hold_up_the_others(void **state)
{
	AUTO_PAIR pair;
	pair_init(&pair, 1);
	open_delivery(&pair);

	pair.fake->malformed_for_ever = true;
	add(&pair, "cart", 10, 0);
	run_until(&pair, 60);
	assert_int_equal(delivery_state(pair.delivery).lost[LOSS_REJECTED], 10);
	pair.fake->malformed_for_ever = false;
	add(&pair, "basket", 5, 0);
	run_until(&pair, 60);
	assert_true(delivery_is_done(pair.delivery));
	assert_int_equal(pair.fake->samples, 5);
	assert_int_equal(pair.fake->lost_by[LOSS_REJECTED], 10);
}

static void waits_grow_and_are_bounded(void **state)
{
	AUTO_PAIR pair;
	uint64_t longest_ns = 0;
	pair_init(&pair, 1);
	open_delivery(&pair);

	pair.fake->drop_request = 100;
	for (uint32_t i = 0; i < 12; i++) {
		uint64_t due_ns = delivery_step(pair.delivery, 1000);
		uint64_t wait_ns = due_ns - pair.clock.now_monotonic_ns;

		if (i == 0)
			assert_true(wait_ns <= 375 * NS_PER_MS);
		longest_ns = wait_ns > longest_ns ? wait_ns : longest_ns;
		clock_virtual_advance(&pair.clock, wait_ns);
	}
	assert_true(longest_ns > 5 * NS_PER_S);
	assert_true(longest_ns <= 22500 * NS_PER_MS);
	assert_false(delivery_state(pair.delivery).connected);

	/* At the end of an agent there is no time for that. */
	delivery_hurry(pair.delivery);
	assert_true(delivery_step(pair.delivery, 1000) - pair.clock.now_monotonic_ns <=
	            375 * NS_PER_MS);
}

/* Functions that no other batch has. */
static void add_unique(struct pair *pair, uint64_t tag, uint32_t functions)
{
	AUTO_BATCH made = made_batch_new(tag);
	AUTO_BUF bytes = { 0 };
	char name[128];

	for (uint32_t i = 0; i < functions; i++) {
		snprintf(name, sizeof(name), "a-function-with-rather-a-long-name-%llu-%u",
		        (unsigned long long)tag, i);
		made_row(&made, "cart", name, 1);
	}
	CHECK_OK(batch_settle(made.batch));
	batch_encode_whole(made.batch, &bytes);
	delivery_add(pair->delivery, bytes.bytes, bytes.count);
}

static void a_full_session_is_followed_by_a_new_one(void **state)
{
	AUTO_PAIR pair;
	pair_init(&pair, 1);
	pair.fake->nodes_max = 1000;
	open_delivery(&pair);

	for (uint64_t i = 0; i < 10; i++) {
		add_unique(&pair, i, 300);
		run_until(&pair, 10);
	}
	assert_int_equal(pair.fake->samples, 3000);
	assert_int_equal(pair.fake->hellos, 4);
	assert_int_equal(pair.fake->duplicates, 0);
}

static void a_batch_that_no_session_can_hold_is_counted(void **state)
{
	AUTO_PAIR pair;
	pair_init(&pair, 1);
	pair.fake->nodes_max = 200;
	open_delivery(&pair);

	add_unique(&pair, 1, 300);
	add(&pair, "cart", 7, 0);
	run_until(&pair, 60);
	assert_true(delivery_is_done(pair.delivery));
	assert_int_equal(pair.fake->samples, 7);
	assert_int_equal(pair.fake->lost_by[LOSS_REJECTED], 300);
}

static void a_push_is_as_large_as_the_aggregator_bears(void **state)
{
	AUTO_PAIR pair;
	pair_init(&pair, 1);
	pair.fake->push_bytes_max = 65536;
	pair.fake->drop_request = 100;
	pair.bytes_max = 64 << 20;
	open_delivery(&pair);

	for (uint64_t i = 0; i < 20; i++)
		add_unique(&pair, i, 1000);
	add_unique(&pair, 20, 5000); /* must be divided */
	pair.fake->drop_request = 0;
	run_until(&pair, 60);
	assert_true(delivery_is_done(pair.delivery));
	assert_int_equal(pair.fake->samples, 25000);
	assert_true(pair.fake->greatest_payload <= 65536);
}

static void shards_are_what_the_aggregator_says(void **state)
{
	AUTO_PAIR pair;
	pair_init(&pair, 1);
	pair.fake->shards = 256;
	open_delivery(&pair);

	add(&pair, "cart", 10, 1); /* before anybody knew */
	run_until(&pair, 10);
	add(&pair, "basket", 5, 0);
	run_until(&pair, 10);
	assert_int_equal(pair.fake->samples, 15);
	for (uint32_t i = 0; i < pair.fake->sections_count; i++) {
		uint16_t shard = pair.fake->sections[i].shard;

		assert_true(shard == wire_shard("acme", "cart", 256) ||
		            shard == wire_shard("acme", "basket", 256) ||
		            shard == wire_shard("acme", "", 256));
	}
}

static void wanted_symbols_are_passed_on(void **state)
{
	AUTO_PAIR pair;
	pair_init(&pair, 1);
	pair.fake->wanted = "deadbeef";
	open_delivery(&pair);

	add(&pair, "cart", 10, 1);
	run_until(&pair, 10);
	assert_string_equal(pair.wanted, "deadbeef");
}

static void losses_from_before_are_delivered(void **state)
{
	AUTO_PAIR pair;
	struct delivery_losses losses = { 0 };
	pair_init(&pair, 1);
	open_delivery(&pair);

	losses.ours[LOSS_SPOOL_FULL] = 30;
	losses.earlier[LOSS_RING_FULL] = 4;
	delivery_add_losses(pair.delivery, &losses);
	assert_false(delivery_is_done(pair.delivery));
	run_until(&pair, 10);
	assert_int_equal(pair.fake->lost_by[LOSS_SPOOL_FULL], 30);
	assert_int_equal(pair.fake->lost_by[LOSS_RING_FULL], 4);
	assert_int_equal(delivery_state(pair.delivery).lost[LOSS_SPOOL_FULL], 30);
	assert_int_equal(delivery_state(pair.delivery).lost[LOSS_RING_FULL], 0);
}

static void a_restart_delivers_what_the_folder_holds(void **state)
{
	TEST_DIR(dir);
	AUTO_PAIR pair;
	pair_init(&pair, 1);
	pair.path = dir.path;
	open_delivery(&pair);

	run_until(&pair, 1);
	pair.fake->drop_reply = 100;
	add(&pair, "cart", 10, 1);
	run_until(&pair, 1);
	add(&pair, "basket", 5, 0);
	delivery_free(pair.delivery);

	pair.fake->drop_reply = 0;
	pair.epoch++;
	open_delivery(&pair);
	assert_int_equal(delivery_state(pair.delivery).samples_inherited, 15);
	run_until(&pair, 60);
	assert_true(delivery_is_done(pair.delivery));
	assert_int_equal(pair.fake->samples, 15);
	assert_int_equal(pair.fake->lost, 1);
	assert_true(pair.fake->duplicates >= 1);
}

/* ---- random weather ---- */

static void check_law(const struct pair *pair, uint64_t seed, uint64_t added)
{
	struct spool_state spool = delivery_state(pair->delivery).spool;

	if (spool.entries > 0 || pair->fake->samples + pair->fake->lost != added)
		fail_msg("seed %llu: added %llu, arrived %llu + %llu, waiting %llu entries",
		        (unsigned long long)seed, (unsigned long long)added,
		        (unsigned long long)pair->fake->samples,
		        (unsigned long long)pair->fake->lost, (unsigned long long)spool.entries);
}

static void weather_of(struct pair *pair, struct rng *rng, bool bad)
{
	struct fake_aggregator *fake = pair->fake;
	uint32_t *const each[] = { &fake->drop_request, &fake->drop_reply, &fake->restart,
		&fake->busy_message, &fake->busy_section, &fake->not_owner, &fake->reject_section,
		&fake->garbage };

	for (size_t i = 0; i < COUNT_OF(each); i++)
		*each[i] = bad && rng_below(rng, 2) ? (uint32_t)rng_below(rng, 30) : 0;
}

static void in_any_weather_all_arrives_once_or_is_counted(void **state)
{
	static const char *const services[] = { "cart", "basket", "queue", "" };
	uint64_t duplicates = 0;
	uint64_t rejected = 0;
	uint64_t dropped = 0;

	for (uint64_t seed = 1; seed <= 80; seed++) {
		TEST_DIR(dir);
		AUTO_PAIR pair;
		struct rng rng;
		uint64_t added = 0;

		rng_init(&rng, seed);
		pair_init(&pair, seed);
		pair.path = seed % 8 == 0 ? dir.path : NULL;
		pair.bytes_max = 300 + rng_below(&rng, 2000);
		pair.fake->shards = 1u << rng_below(&rng, 9);
		open_delivery(&pair);
		for (uint64_t step = 0; step < 60; step++) {
			if (step % 10 == 0)
				weather_of(&pair, &rng, true);
			if (step % 20 == 19)
				pair.fake->shards = 1u << rng_below(&rng, 9);
			if (pair.path && rng_below(&rng, 15) == 0) {
				delivery_free(pair.delivery);
				pair.epoch++;
				open_delivery(&pair);
			}
			for (uint64_t i = rng_below(&rng, 4); i > 0; i--)
				added += add(&pair, services[rng_below(&rng, COUNT_OF(services))],
				        1 + rng_below(&rng, 50), rng_below(&rng, 3));
			run_until(&pair, rng_below(&rng, 10));
		}
		dropped += delivery_state(pair.delivery).spool.dropped_samples;
		weather_of(&pair, &rng, false);
		run_until(&pair, 300);
		check_law(&pair, seed, added);
		duplicates += pair.fake->duplicates;
		rejected += pair.fake->rejected_samples;
		assert_true(pair.fake->lost_by[LOSS_REJECTED] >= pair.fake->rejected_samples);
	}
	/* That the weather was bad enough to prove something. */
	assert_true(duplicates > 100);
	assert_true(rejected > 100);
	assert_true(dropped > 100);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_batch_arrives_once_with_the_agent_s_state),
		cmocka_unit_test(a_session_sends_what_it_knows_only_once),
		cmocka_unit_test(a_lost_reply_is_a_dup_in_a_new_session),
		cmocka_unit_test(a_forgotten_session_is_opened_again_at_once),
		cmocka_unit_test(a_busy_aggregator_is_left_alone_as_long_as_it_asked),
		cmocka_unit_test(a_refused_section_becomes_a_counted_loss),
		cmocka_unit_test(a_newer_aggregator_is_asked_again_after_a_while),
		cmocka_unit_test(every_refusal_of_a_message_is_survived),
		cmocka_unit_test(a_batch_that_nobody_can_read_does_not_hold_up_the_others),
		cmocka_unit_test(waits_grow_and_are_bounded),
		cmocka_unit_test(a_full_session_is_followed_by_a_new_one),
		cmocka_unit_test(a_batch_that_no_session_can_hold_is_counted),
		cmocka_unit_test(a_push_is_as_large_as_the_aggregator_bears),
		cmocka_unit_test(shards_are_what_the_aggregator_says),
		cmocka_unit_test(wanted_symbols_are_passed_on),
		cmocka_unit_test(losses_from_before_are_delivered),
		cmocka_unit_test(a_restart_delivers_what_the_folder_holds),
		cmocka_unit_test(in_any_weather_all_arrives_once_or_is_counted),
	};
	log_setup("delivery-test", LOG_LEVEL_ERROR, LOG_FORMAT_TEXT);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
