#pragma once

/*
 * victim is this program once more, as a process to be killed: it writes to its standard output
 * what was done, and whoever made it reads that from a pipe. RocksDB's threads do not survive a
 * fork, so it is run anew.
 */

#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/lib/test.h"

extern char **environ;

struct victim {
	pid_t pid;
	int from; /* its standard output; whoever kills it closes this when all is read */
};

/* `arguments` begin behind the program's name and end with NULL. */
static inline struct victim victim_spawn(const char *const *arguments)
{
	struct victim victim;
	const char *all[16] = { "/proc/self/exe" };
	posix_spawn_file_actions_t actions;
	int ends[2];
	for (uint32_t i = 0; arguments[i]; i++) {
		CHECK(i + 2 < COUNT_OF(all));
		all[i + 1] = arguments[i];
	}
	CHECK_OK(pipe2(ends, O_CLOEXEC));
	CHECK_OK(posix_spawn_file_actions_init(&actions));
	CHECK_OK(posix_spawn_file_actions_adddup2(&actions, ends[1], STDOUT_FILENO));
	CHECK_OK(posix_spawn(&victim.pid, all[0], &actions, NULL, (char *const *)all, environ));
	CHECK_OK(posix_spawn_file_actions_destroy(&actions));
	close(ends[1]);
	victim.from = ends[0];
	return victim;
}

/* It must not have ended by itself. */
static inline void victim_kill(const struct victim *victim)
{
	int status;
	CHECK_OK(kill(victim->pid, SIGKILL));
	assert_int_equal(waitpid(victim->pid, &status, 0), victim->pid);
	CHECK(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
}
