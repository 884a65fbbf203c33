/*
 * What an agent said last and cannot be read is left out and said so, until the agent speaks again.
 */

#include "storage/kv.h"
#include "tests/unit/storage/store_fixture.h"

struct seen {
	uint32_t count;
	uint64_t first_ns; /* of the last */
};

static int count_agent(void *owner, const struct store_agent *agent)
{
	struct seen *seen = owner;
	seen->count++;
	seen->first_ns = agent->first_seen_ns;
	return 0;
}

static struct seen agents_of(struct store *store)
{
	struct seen seen = { 0 };
	CHECK_OK(store_agents(store, count_agent, &seen));
	return seen;
}

/* Turns the last byte of the one record around. */
static void damage(const char *path)
{
	struct kv *kv;
	struct kv_options options = { .path = path, .memtables_bytes = 8 << 20 };
	char error[256];
	AUTO_BUF key = { 0 };
	AUTO_BUF value = { 0 };
	CHECK_OK(kv_open(options, &kv, error, sizeof(error)));
	struct kv_iterator *it = kv_iterator_new(
	        kv, KV_AGENT, (struct kv_bytes){ 0 }, (struct kv_bytes){ 0 });
	assert_true(kv_iterator_is_valid(it));
	buf_put(&key, kv_iterator_key(it).bytes, kv_iterator_key(it).count);
	buf_put(&value, kv_iterator_value(it).bytes, kv_iterator_value(it).count);
	kv_iterator_free(it);
	value.bytes[value.count - 1] ^= 0xff;
	AUTO(kv_batch) write = kv_batch_new();
	kv_put(kv, write, KV_AGENT, (struct kv_bytes){ key.bytes, key.count },
	        (struct kv_bytes){ value.bytes, value.count });
	CHECK_OK(kv_write(kv, write, KV_SYNC));
	kv_free(kv);
}

static struct store_size size_of(struct store *store)
{
	struct store_size size;
	CHECK_OK(store_size(store, &size));
	return size;
}

static void an_agent_that_cannot_be_read_is_counted_until_it_speaks_again(void **state)
{
	TEST_DIR(dir);
	struct store_agent agent = {
		.uuid = { .bytes = { 7 } }, .host = "web-1", .first_seen_ns = 10, .last_seen_ns = 20
	};
	(void)state;
	struct store *store = store_fixture_open(dir.path);
	CHECK_OK(store_agent_put(store, &agent));
	store_free(store);
	damage(dir.path);

	store = store_fixture_open(dir.path);
	uint64_t corrupt = size_of(store).corrupt;
	assert_int_equal(agents_of(store).count, 0);
	assert_int_equal(size_of(store).corrupt, corrupt + 1);
	assert_int_equal(size_of(store).unreadable, 1);

	agent.first_seen_ns = agent.last_seen_ns = 30;
	CHECK_OK(store_agent_put(store, &agent));
	assert_int_equal(size_of(store).unreadable, 0);
	assert_int_equal(agents_of(store).count, 1);
	assert_int_equal(agents_of(store).first_ns, 30); /* when it was first seen is lost */
	assert_int_equal(size_of(store).corrupt, corrupt + 1);
	store_free(store);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(an_agent_that_cannot_be_read_is_counted_until_it_speaks_again),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
