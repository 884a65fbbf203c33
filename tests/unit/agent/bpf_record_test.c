/* Records as the BPF programs write them, and as they never should; the fuzzer's corpus are the
 * examples. */

#include "tests/lib/test.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "agent/bpf_record.h"
#include "core/auto.h"

static int decode_example(const char *name, struct observation *ret_observation,
        struct bpf_record_path *path, char **ret_bytes)
{
	char file[200];
	size_t count;

	snprintf(file, sizeof(file), "tests/fuzz/corpus/bpf_record/%s", name);
	*ret_bytes = test_file_read(file, &count);
	return bpf_record_decode(*ret_bytes, count, path, ret_observation);
}

static void examples_are_what_their_names_say(void **state)
{
	static const struct {
		const char *name;
		int result;
		enum observation_kind kind;
	} cases[] = {
		{ "sample_kernel_and_user", 0, OBSERVED_SAMPLE },
		{ "sample_cut", 0, OBSERVED_SAMPLE },
		{ "sample_of_kernel_thread", 0, OBSERVED_SAMPLE },
		{ "sample_shorter_than_its_depths", -EBADMSG, 0 },
		{ "sample_deeper_than_allowed", -EBADMSG, 0 },
		{ "exec", 0, OBSERVED_ORIGIN },
		{ "exec_cut", -EBADMSG, 0 },
		{ "cgroup", 0, OBSERVED_CGROUP },
		{ "cgroup_root", 0, OBSERVED_CGROUP },
		{ "cgroup_with_full_names", 0, OBSERVED_CGROUP },
		{ "cgroup_with_too_many_names", -EBADMSG, 0 },
		{ "unknown_kind", -EBADMSG, 0 },
		{ "header_cut", -EBADMSG, 0 },
	};

	for (size_t at = 0; at < COUNT_OF(cases); at++) {
		struct observation observation = { 0 };
		struct bpf_record_path path;
		autofree char *bytes = NULL;
		int result = decode_example(cases[at].name, &observation, &path, &bytes);

		if (result != cases[at].result)
			fail_msg("%s: %d", cases[at].name, result);
		assert_int_equal(observation.kind, cases[at].kind);
		if (result == 0) {
			assert_int_equal(observation.pid, 10);
			assert_int_equal(observation.tid, 11);
			assert_int_equal(observation.cpu, 3);
			assert_int_equal(observation.time_ns, 5000000);
		}
	}
}

static void what_a_sample_says_is_kept(void **state)
{
	struct observation observation;
	struct bpf_record_path path;
	autofree char *both = NULL;
	autofree char *cut = NULL;
	autofree char *kernel = NULL;

	CHECK_OK(decode_example("sample_kernel_and_user", &observation, &path, &both));
	assert_int_equal(observation.sample.start_ns, 7000000000);
	assert_int_equal(observation.sample.period, 20408163);
	assert_int_equal(observation.sample.cgroup_id, 99);
	assert_true(observation.sample.has_cgroup);
	assert_int_equal(observation.sample.kernel_depth, 1);
	assert_int_equal(observation.sample.kernel_ips[0], 0xffffffff81000000);
	assert_int_equal(observation.sample.user_depth, 2);
	assert_int_equal(observation.sample.user_ips[1], 0x402000);
	assert_int_equal(observation.sample.flags, OBSERVED_USER_ROOT);

	/* What is not known to be complete is cut. */
	CHECK_OK(decode_example("sample_cut", &observation, &path, &cut));
	assert_int_equal(observation.sample.flags, OBSERVED_USER_CUT);
	CHECK_OK(decode_example("sample_of_kernel_thread", &observation, &path, &kernel));
	assert_int_equal(observation.sample.flags, OBSERVED_NO_USER);
}

static void cgroup_names_become_a_path_from_the_root(void **state)
{
	struct observation observation;
	struct bpf_record_path path;
	autofree char *named = NULL;
	autofree char *root = NULL;
	autofree char *full = NULL;

	CHECK_OK(decode_example("cgroup", &observation, &path, &named));
	assert_int_equal(observation.cgroup.id, 99);
	assert_string_equal(observation.cgroup.path, "/system.slice/nginx.service");
	CHECK_OK(decode_example("cgroup_root", &observation, &path, &root));
	assert_string_equal(observation.cgroup.path, "/");
	/* Names that fill their place have no closing zero. */
	CHECK_OK(decode_example("cgroup_with_full_names", &observation, &path, &full));
	assert_int_equal(strlen(observation.cgroup.path),
	        EVENT_CGROUP_NAMES * (EVENT_CGROUP_NAME_BYTES + 1));
}

static void no_prefix_of_an_example_is_read_beyond_its_end(void **state)
{
	static const char *const names[] = { "sample_kernel_and_user", "exec", "cgroup" };

	for (size_t at = 0; at < COUNT_OF(names); at++) {
		char file[200];
		size_t count;
		snprintf(file, sizeof(file), "tests/fuzz/corpus/bpf_record/%s", names[at]);
		autofree char *bytes = test_file_read(file, &count);
		for (size_t cut = 0; cut < count; cut++) {
			struct observation observation;
			struct bpf_record_path path;
			autofree char *record = malloc(cut ? cut : 1);
			memcpy(record, bytes, cut);
			assert_int_equal(
			        bpf_record_decode(record, cut, &path, &observation), -EBADMSG);
		}
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(examples_are_what_their_names_say),
		cmocka_unit_test(what_a_sample_says_is_kept),
		cmocka_unit_test(cgroup_names_become_a_path_from_the_root),
		cmocka_unit_test(no_prefix_of_an_example_is_read_beyond_its_end),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
