/* identity: the uuid that stays, wherever it can be kept. */

#include "agent/identity.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "tests/lib/test.h"

#define MACHINE_ID "0123456789abcdef0123456789abcdef\n"

static void is_a_uuid(struct wire_uuid uuid, uint8_t version)
{
	char text[IDENTITY_TEXT_BYTES];

	identity_format(uuid, text);
	assert_int_equal(strlen(text), 36);
	assert_int_equal(text[14], '0' + version);
	assert_non_null(strchr("89ab", text[19]));
}

static void a_uuid_is_made_once_and_kept(void **state)
{
	TEST_DIR(dir);
	struct wire_uuid first;
	struct wire_uuid again;
	char path[300];
	size_t count;

	snprintf(path, sizeof(path), "%s/state", dir.path);
	assert_int_equal(identity_uuid(path, NULL, &first), IDENTITY_FILE);
	assert_int_equal(identity_uuid(path, NULL, &again), IDENTITY_FILE);
	assert_memory_equal(&first, &again, sizeof(first));
	is_a_uuid(first, 4);

	char text[IDENTITY_TEXT_BYTES];
	identity_format(first, text);
	snprintf(path, sizeof(path), "%s/state/agent.uuid", dir.path);
	char *kept = test_file_read(path, &count);
	assert_memory_equal(kept, text, 36);
	free(kept);
}

static void a_uuid_that_was_written_by_hand_is_taken(void **state)
{
	TEST_DIR(dir);
	struct wire_uuid uuid;
	char path[300];
	char text[IDENTITY_TEXT_BYTES];

	snprintf(path, sizeof(path), "%s/agent.uuid", dir.path);
	test_file_write(path, "550e8400-e29b-41d4-a716-446655440000", 36);
	assert_int_equal(identity_uuid(dir.path, NULL, &uuid), IDENTITY_FILE);
	identity_format(uuid, text);
	assert_string_equal(text, "550e8400-e29b-41d4-a716-446655440000");
}

static void a_file_that_is_no_uuid_is_replaced(void **state)
{
	static const char *const texts[] = { "\n", "hello\n",
		"550e8400-e29b-41d4-a716-44665544000\n", "550e8400-e29b-41d4-a716-4466554400001\n",
		"550E8400-E29B-41D4-A716-446655440000\n" };

	for (size_t i = 0; i < COUNT_OF(texts); i++) {
		TEST_DIR(dir);
		struct wire_uuid first;
		struct wire_uuid again;
		char path[300];

		snprintf(path, sizeof(path), "%s/agent.uuid", dir.path);
		test_file_write(path, texts[i], strlen(texts[i]));
		assert_int_equal(identity_uuid(dir.path, NULL, &first), IDENTITY_FILE);
		assert_int_equal(identity_uuid(dir.path, NULL, &again), IDENTITY_FILE);
		assert_memory_equal(&first, &again, sizeof(first));
		is_a_uuid(first, 4);
	}
}

static void without_a_folder_the_machine_decides(void **state)
{
	TEST_DIR(dir);
	struct wire_uuid first;
	struct wire_uuid again;
	char machine[300];
	char missing[300];

	snprintf(machine, sizeof(machine), "%s/machine-id", dir.path);
	snprintf(missing, sizeof(missing), "%s/missing/state", dir.path);
	test_file_write(machine, MACHINE_ID, strlen(MACHINE_ID));
	assert_int_equal(identity_uuid(missing, machine, &first), IDENTITY_MACHINE);
	assert_int_equal(identity_uuid(missing, machine, &again), IDENTITY_MACHINE);
	assert_memory_equal(&first, &again, sizeof(first));
	is_a_uuid(first, 8);
	/* machine-id is nobody's business. */
	assert_memory_not_equal(first.bytes, "\x01\x23\x45\x67", 4);

	test_file_write(machine, "0123456789abcdef0123456789abcdee\n", 33);
	assert_int_equal(identity_uuid(missing, machine, &again), IDENTITY_MACHINE);
	assert_memory_not_equal(&first, &again, sizeof(first));
}

static void without_anything_it_is_random(void **state)
{
	TEST_DIR(dir);
	struct wire_uuid first;
	struct wire_uuid again;
	char missing[300];

	snprintf(missing, sizeof(missing), "%s/missing/state", dir.path);
	assert_int_equal(identity_uuid(missing, missing, &first), IDENTITY_RANDOM);
	assert_int_equal(identity_uuid(missing, missing, &again), IDENTITY_RANDOM);
	assert_memory_not_equal(&first, &again, sizeof(first));
	is_a_uuid(first, 4);
}

static void epochs_differ(void **state)
{
	uint64_t first = identity_epoch();

	assert_true(first != 0);
	assert_true(identity_epoch() != first);
}

static void who_was_killed_leaves_its_mark(void **state)
{
	TEST_DIR(dir);
	bool killed = false;
	char missing[300];

	int mark = identity_running(dir.path, &killed);
	assert_true(mark >= 0);
	assert_false(killed);
	/* Another one beside it says nothing of it. */
	assert_int_equal(identity_running(dir.path, &killed), -EWOULDBLOCK);
	identity_stopped(mark);
	mark = identity_running(dir.path, &killed);
	assert_true(mark >= 0);
	assert_false(killed);
	/* All that is left of one that was killed: the file, without the lock. */
	(void)close(mark);
	mark = identity_running(dir.path, &killed);
	assert_true(killed);
	identity_stopped(mark);
	snprintf(missing, sizeof(missing), "%s/missing", dir.path);
	assert_int_equal(identity_running(missing, &killed), -ENOENT);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_uuid_is_made_once_and_kept),
		cmocka_unit_test(a_uuid_that_was_written_by_hand_is_taken),
		cmocka_unit_test(a_file_that_is_no_uuid_is_replaced),
		cmocka_unit_test(without_a_folder_the_machine_decides),
		cmocka_unit_test(without_anything_it_is_random),
		cmocka_unit_test(epochs_differ),
		cmocka_unit_test(who_was_killed_leaves_its_mark),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
