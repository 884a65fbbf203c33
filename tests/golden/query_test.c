/*
 * What the CLI prints, word for word, for files a user could have written. Each case is a command
 * line and the file that holds its expected output, tests/golden/query_*.txt: what is printed here
 * stays.
 *
 * PROFLEET_GOLDEN_WRITE=1 writes the files instead of comparing: look at the difference before it
 * is committed.
 */

#include "tests/lib/test.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define BEFORE  "tests/golden/query_before.folded"
#define AFTER   "tests/golden/query_after.folded"
#define HOSTILE "tests/golden/query_hostile.folded"
#define CASES   "tests/golden/retention_cases.yaml"

#define WORDS_MAX 10

struct ran {
	int code;
	char *out;
	char *err;
	struct test_dir dir;
};

static char *run_file(const struct ran *ran, const char *name, char path[300])
{
	snprintf(path, 300, "%s/%s", ran->dir.path, name);
	return path;
}

/* Runs profleet with nothing of this process's surroundings that could change its output. */
static struct ran run(const char *const words[WORDS_MAX])
{
	struct ran ran = { .dir = test_dir_new() };
	char program[512], out[300], err[300];
	const char *bin = getenv("PROFLEET_BIN");
	assert_non_null(bin);
	snprintf(program, sizeof(program), "%s/profleet", bin);

	char *argv[WORDS_MAX + 2] = { program };
	for (size_t i = 0; i < WORDS_MAX && words[i]; i++)
		argv[i + 1] = (char *)(uintptr_t)words[i];
	char *const environment[] = { (char[]){ "PATH=/usr/bin:/bin" }, (char[]){ "LANG=C" },
		(char[]){ "PROFLEET_SERVER=tcp://127.0.0.1:1" },
		(char[]){ "ASAN_OPTIONS=detect_leaks=1" }, (char[]){ "COLUMNS=80" }, NULL };
	posix_spawn_file_actions_t files;
	posix_spawn_file_actions_init(&files);
	posix_spawn_file_actions_addopen(&files, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
	posix_spawn_file_actions_addopen(&files, STDOUT_FILENO, run_file(&ran, "out", out),
	        O_WRONLY | O_CREAT | O_TRUNC, 0600);
	posix_spawn_file_actions_addopen(&files, STDERR_FILENO, run_file(&ran, "err", err),
	        O_WRONLY | O_CREAT | O_TRUNC, 0600);
	pid_t child;
	assert_int_equal(posix_spawn(&child, program, &files, NULL, argv, environment), 0);
	posix_spawn_file_actions_destroy(&files);

	int status;
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_true(WIFEXITED(status));
	size_t bytes;
	ran.code = WEXITSTATUS(status);
	ran.out = test_file_read(out, &bytes);
	ran.err = test_file_read(err, &bytes);
	return ran;
}

static void ran_fini(struct ran *ran)
{
	free(ran->out);
	free(ran->err);
	test_dir_remove(&ran->dir);
}

static void check_golden(const char *const words[WORDS_MAX], const char *path)
{
	__attribute__((cleanup(ran_fini))) struct ran ran = run(words);
	if (ran.code != 0)
		fail_msg("%s: exit code %d: %s", path, ran.code, ran.err);
	if (getenv("PROFLEET_GOLDEN_WRITE")) {
		test_file_write(path, ran.out, strlen(ran.out));
		return;
	}
	size_t bytes;
	char *expected = test_file_read(path, &bytes);
	if (strcmp(ran.out, expected) != 0)
		print_error("%s differs. Printed:\n%s\n", path, ran.out);
	assert_string_equal(ran.out, expected);
	free(expected);
}

static void answers_are_printed_as_they_always_were(void **state)
{
	static const struct {
		const char *golden;
		const char *words[WORDS_MAX];
	} cases[] = {
		{ "query_top.txt", { "top", BEFORE } },
		{ "query_top_cut.txt", { "top", BEFORE, "--limit", "3", "--sort", "cum" } },
		{ "query_top_cpu_wide.txt", { "top", BEFORE, "--type", "cpu", "-o", "wide" } },
		{ "query_top_json.txt", { "top", BEFORE, "-n2", "-o", "json" } },
		{ "query_top_csv.txt", { "top", HOSTILE, "-o", "csv" } },
		{ "query_top_hostile.txt", { "top", HOSTILE } },
		{ "query_top_color.txt", { "--color", "always", "top", BEFORE, "-n", "2" } },
		{ "query_tree.txt", { "tree", BEFORE } },
		{ "query_tree_cut.txt", { "tree", BEFORE, "--limit", "4" } },
		{ "query_tree_json.txt", { "tree", BEFORE, "-o", "json", "-n", "3" } },
		{ "query_diff.txt", { "diff", BEFORE, AFTER } },
		{ "query_diff_cut.txt", { "diff", BEFORE, AFTER, "--limit", "2" } },
		{ "query_diff_cum_wide.txt",
		        { "diff", BEFORE, AFTER, "--sort", "cum", "-o", "wide" } },
		{ "query_diff_json.txt", { "diff", BEFORE, AFTER, "-n1", "-o", "json" } },
		{ "query_diff_csv.txt", { "diff", BEFORE, AFTER, "-o", "csv" } },
		{ "query_diff_folded.txt", { "diff", BEFORE, AFTER, "-o", "folded" } },
		{ "query_export.txt", { "export", BEFORE } },
		{ "query_help.txt", { "help" } },
		{ "query_help_diff.txt", { "help", "diff" } },
		{ "query_help_retention.txt", { "help", "retention" } },
		{ "query_help_retention_test.txt", { "retention", "test", "--help" } },
		{ "query_help_retention_plan.txt", { "help", "retention", "plan" } },
		{ "query_help_hold_create.txt", { "hold", "create", "--help" } },
		{ "query_retention_test.txt", { "retention", "test", "-f", CASES } },
		{ "query_retention_test_json.txt", { "retention", "test", CASES, "-o", "json" } },
	};

	for (size_t i = 0; i < COUNT_OF(cases); i++) {
		char path[128];
		snprintf(path, sizeof(path), "tests/golden/%s", cases[i].golden);
		check_golden(cases[i].words, path);
	}
}

static void every_mistake_has_a_code_and_one_line_with_a_remedy(void **state)
{
	static const struct {
		int code;
		const char *says; /* a part of the line */
		const char *words[WORDS_MAX];
	} cases[] = {
		{ 2, "did you mean `profleet top`", { "tpo" } },
		{ 2, "`profleet help` lists them", { "frobnicate" } },
		{ 2, "usage: profleet top", { "top" } },
		{ 2, "usage: profleet diff", { "diff", "cpu" } },
		{ 2, "did you mean --since", { "top", "cpu", "--sinse", "1h" } },
		{ 2, "html", { "diff", BEFORE, AFTER, "-o", "pprof" } },
		{ 2, "write table, wide, json, csv", { "top", BEFORE, "-o", "xml" } },
		{ 2, "--from", { "top", "cpu", "--from", "yesterday" } },
		{ 2, "the range is empty", { "top", "cpu", "--from", "now", "--to", "now-1h" } },
		{ 2, "selector cpu{", { "top", "cpu{" } },
		{ 2, "not an address", { "--server", "http://x", "top", "cpu" } },
		{ 5, "profleet-aggregator --data DIR", { "top", "cpu", "--timeout", "200ms" } },
		{ 5, "No such file", { "top", "./missing.folded" } },
		{ 5, "profleet-aggregator --data DIR", { "import", BEFORE, "--timeout", "200ms" } },
		{ 2, "--since and --from", { "top", "cpu", "--since", "1h", "--from", "now-1h" } },
		{ 2, "one side only", { "diff", "-", "-" } },
		{ 2, "read once", { "import", "-", "-" } },
		{ 2, "a type needs a name", { "import", BEFORE, "--type", "" } },
		{ 2, "NAME=VALUE", { "import", BEFORE, "--label", "novalue" } },
		{ 2, "no completion for that shell", { "completion", "tcsh" } },
		{ 2, "which verb? `profleet help retention`", { "retention" } },
		{ 2, "did you mean `profleet retention test`", { "retention", "tets" } },
		{ 2, "diff has no verbs of its own", { "help", "diff", "more" } },
		{ 2, "write -f CASES", { "retention", "test" } },
		{ 2, "--file is required", { "retention", "set" } },
		{ 2, "add --yes", { "retention", "apply", "--plan", "0" } },
		{ 2, "--reason is required", { "hold", "create", "cpu" } },
		{ 2, "--tenant", { "retention", "forget" } },
		{ 2, "not a run", { "retention", "undo", "x" } },
		{ 5, "profleet-aggregator --data DIR", { "audit", "--timeout", "200ms" } },
		{ 2, "No such file", { "retention", "test", "-f", "./missing.yaml" } },
		{ 2, "no policies",
		        { "retention", "test", "-f", "tests/golden/empty_cases.yaml" } },
	};

	for (size_t i = 0; i < COUNT_OF(cases); i++) {
		__attribute__((cleanup(ran_fini))) struct ran ran = run(cases[i].words);
		char *newline = strchr(ran.err, '\n');
		if (ran.code != cases[i].code || !strstr(ran.err, cases[i].says))
			fail_msg("case %zu: exit code %d: %s", i, ran.code, ran.err);
		assert_non_null(newline);
		assert_int_equal(newline[1], '\0');
		assert_int_equal(strncmp(ran.err, "profleet", 8), 0);
	}
}

static void folded_out_and_in_again_is_the_same(void **state)
{
	__attribute__((cleanup(ran_fini))) struct ran first = run(
	        (const char *const[WORDS_MAX]){ "export", BEFORE });
	char path[300];
	snprintf(path, sizeof(path), "%s/again.folded", first.dir.path);
	test_file_write(path, first.out, strlen(first.out));
	__attribute__((cleanup(ran_fini))) struct ran second = run(
	        (const char *const[WORDS_MAX]){ "export", path });
	assert_string_equal(second.out, first.out);

	/* And through pprof. */
	char pprof[300];
	snprintf(pprof, sizeof(pprof), "%s/again.pb.gz", first.dir.path);
	__attribute__((cleanup(ran_fini))) struct ran out = run(
	        (const char *const[WORDS_MAX]){ "export", path, "--out", pprof });
	assert_int_equal(out.code, 0);
	__attribute__((cleanup(ran_fini))) struct ran third = run(
	        (const char *const[WORDS_MAX]){ "export", pprof });
	assert_string_equal(third.out, first.out);
}

static void a_file_appears_whole_under_its_name(void **state)
{
	TEST_DIR(dir);
	char path[300];
	snprintf(path, sizeof(path), "%s/top.txt", dir.path);
	__attribute__((cleanup(ran_fini))) struct ran ran = run(
	        (const char *const[WORDS_MAX]){ "top", BEFORE, "--out", path });
	assert_int_equal(ran.code, 0);
	assert_string_equal(ran.out, "");
	assert_int_equal(access(path, R_OK), 0);
	/* Nothing else is left: no half of it under another name. */
	DIR *folder = opendir(dir.path);
	assert_non_null(folder);
	int files = 0;
	for (struct dirent *entry; (entry = readdir(folder));)
		files += entry->d_name[0] != '.';
	closedir(folder);
	assert_int_equal(files, 1);

	char nowhere[330];
	snprintf(nowhere, sizeof(nowhere), "%s/no/such/folder", dir.path);
	__attribute__((cleanup(ran_fini))) struct ran failed = run(
	        (const char *const[WORDS_MAX]){ "top", BEFORE, "--out", nowhere });
	assert_int_equal(failed.code, 5);
	assert_non_null(strstr(failed.err, nowhere));
}

static void a_flame_graph_is_one_file_that_stands_alone(void **state)
{
	TEST_DIR(dir);
	char path[300];
	snprintf(path, sizeof(path), "%s/flame.html", dir.path);
	__attribute__((cleanup(ran_fini))) struct ran ran = run(
	        (const char *const[WORDS_MAX]){ "flame", HOSTILE, "--out", path });
	assert_int_equal(ran.code, 0);
	assert_int_equal(strncmp(ran.out, path, strlen(path)), 0);
	size_t bytes;
	char *page = test_file_read(path, &bytes);
	assert_non_null(strstr(page, "<!doctype html>"));
	assert_null(strstr(page, "<!--profleet:"));
	assert_null(strstr(page, "alert(1)"));
	free(page);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(answers_are_printed_as_they_always_were),
		cmocka_unit_test(every_mistake_has_a_code_and_one_line_with_a_remedy),
		cmocka_unit_test(folded_out_and_in_again_is_the_same),
		cmocka_unit_test(a_file_appears_whole_under_its_name),
		cmocka_unit_test(a_flame_graph_is_one_file_that_stands_alone),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
