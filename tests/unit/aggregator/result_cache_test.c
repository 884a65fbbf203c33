/* result_cache: an answer is read page by page once, and the bound drops the longest unused. */

#include "aggregator/result_cache.h"

#include <errno.h>
#include <string.h>

#include "tests/lib/test.h"

static uint64_t add_text(struct result_cache *cache, const char *text)
{
	AUTO_BUF bytes = { 0 };
	buf_put(&bytes, text, strlen(text));
	uint64_t id = 0;
	CHECK_OK(result_cache_add(cache, &bytes, &id));
	assert_true(id != 0);
	return id;
}

static void pages_add_up_and_the_last_one_ends_it(void **state)
{
	(void)state;
	AUTO(result_cache) cache = result_cache_new(100);
	uint64_t id = add_text(cache, "abcdefgh");
	AUTO_BUF read = { 0 };
	uint64_t total = 0;

	CHECK_OK(result_cache_read(cache, id, 0, 3, &read, &total));
	assert_true(total == 8 && read.count == 3);
	CHECK_OK(result_cache_read(cache, id, 0, 3, &read, &total)); /* a page may be asked again */
	CHECK_OK(result_cache_read(cache, id, 3, 100, &read, &total));
	assert_true(read.count == 11 && memcmp(read.bytes, "abcabcdefgh", 11) == 0);
	assert_true(result_cache_read(cache, id, 0, 3, &read, &total) == -ENOENT);
	assert_true(result_cache_state(cache).bytes == 0 && result_cache_state(cache).dropped == 0);
}

static void a_page_past_the_end_or_of_nothing_is_refused(void **state)
{
	(void)state;
	AUTO(result_cache) cache = result_cache_new(100);
	uint64_t id = add_text(cache, "abc");
	AUTO_BUF read = { 0 };
	uint64_t total = 7;
	assert_true(result_cache_read(cache, id, 3, 1, &read, &total) == -EINVAL);
	assert_true(result_cache_read(cache, id, UINT64_MAX, 1, &read, &total) == -EINVAL);
	assert_true(result_cache_read(cache, id + 1, 0, 1, &read, &total) == -ENOENT);
	assert_true(result_cache_read(cache, 0, 0, 1, &read, &total) == -ENOENT);
	assert_true(read.count == 0 && total == 7);
}

static void the_bound_drops_the_longest_unused_first(void **state)
{
	(void)state;
	AUTO(result_cache) cache = result_cache_new(10);
	AUTO_BUF read = { 0 };
	uint64_t total;
	uint64_t a = add_text(cache, "aaaa");
	uint64_t b = add_text(cache, "bbbb");
	CHECK_OK(
	        result_cache_read(cache, a, 0, 1, &read, &total)); /* b is now the longest unused */
	uint64_t c = add_text(cache, "cccc");
	assert_true(result_cache_read(cache, b, 0, 1, &read, &total) == -ENOENT);
	CHECK_OK(result_cache_read(cache, a, 0, 1, &read, &total));
	CHECK_OK(result_cache_read(cache, c, 0, 1, &read, &total));
	assert_true(result_cache_state(cache).dropped == 1 && result_cache_state(cache).bytes == 8);

	AUTO_BUF big = { 0 };
	buf_put(&big, "0123456789x", 11);
	uint64_t id = 5;
	assert_true(result_cache_add(cache, &big, &id) == -E2BIG);
	assert_true(id == 5 && big.count == 11);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(pages_add_up_and_the_last_one_ends_it),
		cmocka_unit_test(a_page_past_the_end_or_of_nothing_is_refused),
		cmocka_unit_test(the_bound_drops_the_longest_unused_first),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
