/*
 * A profile in a file: the process has its place in both formats, a half file is never seen under
 * the final name, and what cannot work is said before anything was sampled.
 */

#include "tests/lib/test.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "agent/local_output.h"
#include "profile/pprof.h"

static void add_row(struct batch *batch, const char *comm, const char *function, uint64_t value)
{
	struct frame frame = { .kind = FRAME_KERNEL };
	struct series series = { .period = 100 };
	struct label label;
	uint32_t frame_id, node, series_id;

	CHECK_OK(dict_cstring(batch->dict, "cpu", &series.type));
	CHECK_OK(dict_cstring(batch->dict, "nanoseconds", &series.unit));
	CHECK_OK(dict_cstring(batch->dict, "comm", &label.name));
	CHECK_OK(dict_cstring(batch->dict, comm, &label.value));
	CHECK_OK(dict_series(batch->dict, &series, &label, 1, &series_id));
	CHECK_OK(dict_cstring(batch->dict, function, &frame.function));
	CHECK_OK(dict_frame(batch->dict, &frame, &frame_id));
	CHECK_OK(dict_stack(batch->dict, &frame_id, 1, &node));
	CHECK_OK(batch_add_row(batch, series_id, node, value));
	CHECK_OK(batch_settle(batch));
}

static char *write_profile(const struct test_dir *dir, const char *name, size_t *ret_count)
{
	AUTO(symbol_files) files = symbol_files_new((struct symbol_files_options){ 0 });
	AUTO(local_output) output = NULL;
	AUTO(dict) dict = dict_new(dict_limits_default);
	AUTO(batch) batch = batch_new(dict);
	char path[300];
	char error[300] = "";

	snprintf(path, sizeof(path), "%s/%s", dir->path, name);
	CHECK_OK(local_output_open(path, files, &output, error, sizeof(error)));
	assert_int_not_equal(access(path, F_OK), 0);
	add_row(batch, "web", "read", 3);
	add_row(batch, "job", "read", 4);
	CHECK_OK(local_output_add(output, batch));
	CHECK_OK(local_output_add(output, batch));
	assert_int_equal(batch_samples(local_output_batch(output)), 14);
	CHECK_OK(local_output_finish(output, error, sizeof(error)));
	return test_file_read(path, ret_count);
}

static void folded_text_has_the_process_as_root(void **state)
{
	TEST_DIR(dir);
	size_t count;
	autofree char *text = write_profile(&dir, "out.folded", &count);

	assert_string_equal(text, "job;read 800\nweb;read 600\n");
}

static void pprof_has_the_process_as_a_label_of_the_sample(void **state)
{
	TEST_DIR(dir);
	static const char *const names[] = { "out.pprof", "out.pb.gz" };

	for (size_t at = 0; at < COUNT_OF(names); at++) {
		size_t count;
		autofree char *bytes = write_profile(&dir, names[at], &count);
		AUTO(dict) dict = dict_new(dict_limits_default);
		AUTO(batch) batch = batch_new(dict);
		struct pprof_report report;
		struct parse_error error;
		CHECK_OK(pprof_parse(
		        bytes, count, (struct pprof_options){ 0 }, batch, &report, &error));
		assert_int_equal(batch->rows_count, 2);
		uint32_t name = dict_find_string(dict, "sample.comm", strlen("sample.comm"));
		assert_int_not_equal(name, ID_NONE);
		for (uint32_t row = 0; row < batch->rows_count; row++) {
			uint32_t series = batch->rows[row].series;
			const char *comm = dict_text(dict, dict_label_value(dict, series, name));
			uint64_t ns = batch->rows[row].value *
			              dict_get_series(dict, series)->period;
			assert_int_equal(ns, strcmp(comm, "web") == 0 ? 600 : 800);
		}
	}
}

static void what_cannot_work_is_said_at_once(void **state)
{
	static const struct {
		const char *path;
		int result;
		const char *word;
	} cases[] = {
		{ "out.json", -EINVAL, ".folded" },
		{ ".folded", -EINVAL, ".pprof" },
		{ "/nonexistent/out.folded", -ENOENT, "/nonexistent" },
	};
	AUTO(symbol_files) files = symbol_files_new((struct symbol_files_options){ 0 });

	for (size_t at = 0; at < COUNT_OF(cases); at++) {
		struct local_output *output = NULL;
		char error[300] = "";
		assert_int_equal(
		        local_output_open(cases[at].path, files, &output, error, sizeof(error)),
		        cases[at].result);
		assert_null(output);
		assert_non_null(strstr(error, cases[at].word));
	}
}

static void an_output_that_is_given_up_leaves_nothing_behind(void **state)
{
	TEST_DIR(dir);
	AUTO(symbol_files) files = symbol_files_new((struct symbol_files_options){ 0 });
	struct local_output *output;
	char path[300];
	char error[300];

	snprintf(path, sizeof(path), "%s/out.folded", dir.path);
	CHECK_OK(local_output_open(path, files, &output, error, sizeof(error)));
	local_output_free(output);
	assert_int_equal(rmdir(dir.path), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(folded_text_has_the_process_as_root),
		cmocka_unit_test(pprof_has_the_process_as_a_label_of_the_sample),
		cmocka_unit_test(what_cannot_work_is_said_at_once),
		cmocka_unit_test(an_output_that_is_given_up_leaves_nothing_behind),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
