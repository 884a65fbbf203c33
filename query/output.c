/*
 * The pager is a child that reads from a pipe; $PAGER is split at blanks, and run by a shell only
 * where it has quotes, pipes or the like. A pager that is not there costs nothing: the text goes to
 * the terminal.
 */

#include "query/output.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "core/auto.h"
#include "query/complain.h"

#define PAGER_DEFAULT   "less -FRX"
#define PAGER_WORDS_MAX 16

enum output_format output_format_of(const char *choice)
{
	static const char *const names[] = { "table", "wide", "json", "csv", "folded", "pprof",
		"html" };
	for (size_t i = 0; i < COUNT_OF(names); i++)
		if (strcmp(choice, names[i]) == 0)
			return (enum output_format)i;
	assert(!"a verb offers a format that nobody has heard of");
	return FORMAT_TABLE;
}

static bool output_is_set(const char *variable)
{
	const char *value = getenv(variable);
	return value && *value;
}

static bool output_wants_color(const struct shared_args *shared, bool terminal)
{
	if (shared->color != OUTPUT_COLOR_AUTO)
		return shared->color == OUTPUT_COLOR_ALWAYS;
	if (output_is_set("NO_COLOR"))
		return false;
	const char *force = getenv("CLICOLOR_FORCE");
	if (force && *force && strcmp(force, "0") != 0)
		return true;
	const char *term = getenv("TERM");
	return terminal && term && strcmp(term, "dumb") != 0;
}

struct output output_of(const struct shared_args *shared, const char *path)
{
	struct output output = { .shared = shared, .path = path };
	if (path && strcmp(path, "-") == 0)
		output.path = NULL;
	output.terminal = !output.path && isatty(STDOUT_FILENO);
	output.color = !output.path && output_wants_color(shared, output.terminal);

	struct winsize size;
	if (output.terminal && ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0) {
		output.width = size.ws_col;
		output.height = size.ws_row;
	}
	return output;
}

static int output_write_all(int fd, const uint8_t *bytes, size_t count)
{
	while (count > 0) {
		ssize_t written = write(fd, bytes, count);
		if (written < 0 && errno == EINTR)
			continue;
		if (written < 0)
			return -errno;
		bytes += written;
		count -= (size_t)written;
	}
	return 0;
}

/* Signals that end us while a file is half written. */
static const int output_ends[] = { SIGINT, SIGTERM, SIGHUP };
#define OUTPUT_ENDS COUNT_OF(output_ends)

static const char *volatile output_unfinished;

static void output_ended(int number)
{
	(void)unlink(output_unfinished);
	/* SA_RESETHAND: the signal does now what it does by itself, once this returns. */
	(void)raise(number);
}

static void output_guard(const char *path, struct sigaction before[static OUTPUT_ENDS])
{
	struct sigaction ended = { .sa_handler = output_ended, .sa_flags = (int)SA_RESETHAND };
	output_unfinished = path;
	for (size_t i = 0; i < OUTPUT_ENDS; i++) {
		(void)sigaction(output_ends[i], NULL, &before[i]);
		if (before[i].sa_handler != SIG_IGN) /* nohup stays nohup */
			(void)sigaction(output_ends[i], &ended, NULL);
	}
}

static void output_unguard(const struct sigaction before[static OUTPUT_ENDS])
{
	for (size_t i = 0; i < OUTPUT_ENDS; i++)
		(void)sigaction(output_ends[i], &before[i], NULL);
	output_unfinished = NULL;
}

/* Into a file that was not there before; what there is of it goes when it cannot be completed. */
static int output_write_new(const char *new_path, const char *path, const struct buf *bytes)
{
	autoclose int fd = open(new_path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
	if (fd < 0)
		return -errno;
	struct sigaction before[OUTPUT_ENDS];
	output_guard(new_path, before);
	int result = output_write_all(fd, bytes->bytes, bytes->count);
	if (close(TAKE_FD(fd)) < 0 && result == 0)
		result = -errno;
	if (result == 0 && rename(new_path, path) < 0)
		result = -errno;
	if (result < 0)
		(void)unlink(new_path);
	output_unguard(before);
	return result;
}

/* A device or a pipe is written into; a file is replaced when its successor is complete. */
static int output_write_file(const char *path, const struct buf *bytes)
{
	struct stat stat_now;
	bool plain = stat(path, &stat_now) < 0 || S_ISREG(stat_now.st_mode);
	if (plain) {
		autofree char *new_path = NULL;
		if (asprintf(&new_path, "%s.new.%d", path, (int)getpid()) < 0)
			return -ENOMEM;
		return output_write_new(new_path, path, bytes);
	}

	autoclose int fd = open(path, O_WRONLY | O_TRUNC | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	int result = output_write_all(fd, bytes->bytes, bytes->count);
	if (close(TAKE_FD(fd)) < 0 && result == 0)
		result = -errno;
	return result;
}

/* Into the words that start the pager, which lie in `words`. */
static size_t output_split_pager(char *words, char *arguments[static PAGER_WORDS_MAX + 1])
{
	size_t count = 0;
	if (strpbrk(words, "|&;<>()$`\\\"'*?[#~%")) {
		static char shell[] = "sh", command[] = "-c";
		arguments[count++] = shell;
		arguments[count++] = command;
		arguments[count++] = words;
		return count;
	}
	char *rest = NULL;
	for (char *word = strtok_r(words, " \t", &rest); word && count < PAGER_WORDS_MAX;
	        word = strtok_r(NULL, " \t", &rest))
		arguments[count++] = word;
	return count;
}

/* What a shell returns for a command that is not there or cannot be run. */
static bool output_pager_is_missing(int status)
{
	return WIFEXITED(status) && (WEXITSTATUS(status) == 126 || WEXITSTATUS(status) == 127);
}

/* 0 when the pager showed everything or was left; -ENOENT when there is none. */
static int output_page(const struct buf *text)
{
	const char *pager = getenv("PAGER");
	autofree char *words = strdup(pager && *pager ? pager : PAGER_DEFAULT);
	char *arguments[PAGER_WORDS_MAX + 1] = { 0 };
	if (!words)
		return -ENOMEM;
	if (output_split_pager(words, arguments) == 0)
		return -ENOENT;

	int ends[2], died[2];
	if (pipe2(ends, O_CLOEXEC) < 0)
		return -errno;
	autoclose int read_end = ends[0];
	autoclose int write_end = ends[1];
	/* Closed by a successful exec, written to by a failed one. */
	if (pipe2(died, O_CLOEXEC) < 0)
		return -errno;
	autoclose int died_read = died[0];
	autoclose int died_write = died[1];

	pid_t child = fork();
	if (child < 0)
		return -errno;
	if (child == 0) {
		if (dup2(read_end, STDIN_FILENO) >= 0)
			execvp(arguments[0], arguments);
		(void)!write(died_write, "x", 1);
		_exit(127);
	}
	(void)close(TAKE_FD(read_end));
	(void)close(TAKE_FD(died_write));
	char failed;
	bool started = read(died_read, &failed, 1) == 0;

	/* A pager that is left early closes the pipe: that is no failure of ours. */
	struct sigaction ignore = { .sa_handler = SIG_IGN }, before;
	(void)sigaction(SIGPIPE, &ignore, &before);
	if (started)
		(void)output_write_all(write_end, text->bytes, text->count);
	(void)close(TAKE_FD(write_end));
	int status = 0;
	while (waitpid(child, &status, 0) < 0 && errno == EINTR)
		;
	(void)sigaction(SIGPIPE, &before, NULL);
	return started && !output_pager_is_missing(status) ? 0 : -ENOENT;
}

static size_t output_lines(const struct buf *text)
{
	size_t lines = 0;
	for (size_t i = 0; i < text->count; i++)
		lines += text->bytes[i] == '\n';
	return lines;
}

int output_deliver(const struct output *output, const struct buf *text, int code)
{
	if (text->failed)
		return complain(EXIT_CODE_FAILED,
		        "out of memory; narrow the question by labels or a shorter range");

	int result = -ENOENT;
	if (output->path)
		result = output_write_file(output->path, text);
	else if (output->terminal && !output->shared->no_pager && output->height &&
	         output_lines(text) >= output->height)
		result = output_page(text);
	if (!output->path && result < 0)
		result = output_write_all(STDOUT_FILENO, text->bytes, text->count);
	if (result == -EPIPE)
		return code; /* `profleet top ... | head` saw what it wanted. */
	if (result < 0)
		return complain(EXIT_CODE_FAILED, "%s: %s",
		        output->path ? output->path : "standard output", strerrordesc_np(-result));
	return code;
}

int output_deliver_bytes(const struct output *output, const struct buf *bytes, int code)
{
	if (output->terminal)
		return complain(EXIT_CODE_USAGE, "this form is not for a terminal; write --out "
		                                 "FILE, or send it through a pipe");
	return output_deliver(output, bytes, code);
}
