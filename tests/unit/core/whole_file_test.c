/* whole_file: everything comes, in whatever pieces it is given, and no more than the bound. */

#include "core/whole_file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

#include "core/auto.h"
#include "tests/lib/fault.h"
#include "tests/lib/test.h"

static void put_file(const char *path, size_t count)
{
	AUTO_BUF bytes = { 0 };
	for (size_t i = 0; i < count; i++)
		buf_put_u8(&bytes, (uint8_t)(i % 251));
	assert_false(bytes.failed);
	test_file_write(path, count ? (const char *)bytes.bytes : "", bytes.count);
}

static void a_file_of_any_size_comes_whole_behind_what_is_there(void **state)
{
	TEST_DIR(dir);
	static const size_t sizes[] = { 0, 1, 65535, 65536, 65537, 3000000 };
	char path[512];
	snprintf(path, sizeof(path), "%s/file", dir.path);
	for (size_t i = 0; i < COUNT_OF(sizes); i++) {
		AUTO_BUF to = { 0 };
		put_file(path, sizes[i]);
		autoclose int fd = open(path, O_RDONLY | O_CLOEXEC);
		buf_put_u8(&to, 'x');
		CHECK_OK(whole_file_read(fd, sizes[i], &to));
		assert_int_equal(to.count, sizes[i] + 1);
		assert_int_equal(to.bytes[0], 'x');
		for (size_t at = 0; at < sizes[i]; at++)
			CHECK(to.bytes[1 + at] == at % 251);
	}
}

static void a_byte_more_than_the_bound_is_refused(void **state)
{
	TEST_DIR(dir);
	AUTO_BUF to = { 0 };
	char path[512];
	snprintf(path, sizeof(path), "%s/file", dir.path);
	put_file(path, 100001);
	autoclose int fd = open(path, O_RDONLY | O_CLOEXEC);
	assert_int_equal(whole_file_read(fd, 100000, &to), -EFBIG);
}

static void what_is_beyond_the_bound_of_some_stays_where_it_is(void **state)
{
	AUTO_BUF to = { 0 };
	int ends[2];
	CHECK_OK(pipe2(ends, O_CLOEXEC));
	autoclose int from = ends[0];
	CHECK(write(ends[1], "abcd", 4) == 4);
	close(ends[1]);
	CHECK_OK(whole_file_read_some(from, 3, &to));
	assert_int_equal(to.count, 3);
	CHECK_OK(whole_file_read_some(from, 3, &to));
	assert_int_equal(to.count, 4);
	assert_memory_equal(to.bytes, "abcd", 4);
}

static void what_a_pipe_gives_in_pieces_is_one(void **state)
{
	AUTO_BUF to = { 0 };
	int ends[2];
	CHECK_OK(pipe2(ends, O_CLOEXEC));
	autoclose int from = ends[0];
	CHECK(write(ends[1], "ab", 2) == 2);
	CHECK(write(ends[1], "c", 1) == 1);
	close(ends[1]);
	CHECK_OK(whole_file_read(from, 3, &to));
	assert_int_equal(to.count, 3);
	assert_memory_equal(to.bytes, "abc", 3);
}

static void failures_are_told_but_an_interruption_is_none(void **state)
{
	TEST_DIR(dir);
	char path[512];
	snprintf(path, sizeof(path), "%s/file", dir.path);
	put_file(path, 10);
	static const struct {
		enum fault fault;
		int error;
		int result;
	} cases[] = {
		{ FAULT_READ, EIO, -EIO },
		{ FAULT_READ, EINTR, 0 },
		{ FAULT_ALLOC, ENOMEM, -ENOMEM },
	};
	for (size_t i = 0; i < COUNT_OF(cases); i++) {
		AUTO_BUF to = { 0 };
		autoclose int fd = open(path, O_RDONLY | O_CLOEXEC);
		fault_arm(cases[i].fault, 0, cases[i].error);
		int r = whole_file_read(fd, 10, &to);
		CHECK(fault_disarm());
		assert_int_equal(r, cases[i].result);
		CHECK(r < 0 || to.count == 10);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_file_of_any_size_comes_whole_behind_what_is_there),
		cmocka_unit_test(a_byte_more_than_the_bound_is_refused),
		cmocka_unit_test(what_is_beyond_the_bound_of_some_stays_where_it_is),
		cmocka_unit_test(what_a_pipe_gives_in_pieces_is_one),
		cmocka_unit_test(failures_are_told_but_an_interruption_is_none),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
