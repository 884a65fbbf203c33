/*
 * Three processes. The agent sends (file, pipe) over a socket to the helper and reads the result
 * from the pipe; the helper forks a child per file, waits for it with a deadline, and answers how
 * it ended; the child maps the file, limits itself, installs the seccomp filter, and only then
 * looks at the first byte. A file that is truncated under the mapping kills the child by SIGBUS:
 * that, too, is no more than "no symbols".
 *
 *	pipe:  int32 result, then the table when it is 0
 */

#include "agent/symbolizer.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <linux/capability.h>
#include <poll.h>
#include <pthread.h>
#include <seccomp.h>
#include <signal.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "agent/symbolizer_work.h"
#include "core/auto.h"
#include "core/clock.h"
#include "core/whole_file.h"

#define SYMBOLIZER_NOBODY 65534
/* A file may be so many times as large as the memory that is allowed. */
#define SYMBOLIZER_FILE_SHARE 16
#define SYMBOLIZER_FILE_FD    3
#define SYMBOLIZER_PIPE_FD    4

const struct symbolizer_limits symbolizer_limits_default = {
	.memory_bytes = UINT64_C(1) << 30,
	.cpu_s = 10,
	.result_bytes = UINT64_C(64) << 20,
};

struct symbolizer_request {
	struct symbolizer_limits limits;
	uint64_t file_bytes;
};

/* One helper per process, and one request at a time: reading symbols is never urgent. */
static struct {
	pthread_mutex_t lock;
	symbolizer_work *work;
	pid_t pid; /* 0: none */
	int socket;
} symbolizer = { .lock = PTHREAD_MUTEX_INITIALIZER, .work = elf_symbols_extract, .socket = -1 };

void symbolizer_set_work(symbolizer_work *work)
{
	symbolizer.work = work ? work : elf_symbols_extract;
}

/* ---- child ---- */

static int symbolizer_limit(int resource, uint64_t value)
{
	struct rlimit limit = { .rlim_cur = value, .rlim_max = value };

	return setrlimit((__rlimit_resource_t)resource, &limit) < 0 ? -errno : 0;
}

static int symbolizer_limit_all(struct symbolizer_limits limits, uint64_t file_bytes)
{
	int result = symbolizer_limit(RLIMIT_CPU, limits.cpu_s);

	if (result == 0)
		result = symbolizer_limit(RLIMIT_FSIZE, 0);
	if (result == 0)
		result = symbolizer_limit(RLIMIT_NPROC, 0);
	if (result == 0)
		result = symbolizer_limit(RLIMIT_NOFILE, 0);
	/* A sanitizer keeps terabytes of address space for its shadow. */
	if (result == 0 && !SYMBOLIZER_SANITIZED)
		result = symbolizer_limit(RLIMIT_AS, limits.memory_bytes + file_bytes);
	return result;
}

static struct scmp_arg_cmp symbolizer_argument(
        unsigned int index, enum scmp_compare how, uint64_t a, uint64_t b)
{
	return (struct scmp_arg_cmp){ .arg = index, .op = how, .datum_a = a, .datum_b = b };
}

/*
 * What reading memory, allocating and sorting it takes, and writing to the pipe. Any other call
 * ends the process.
 */
static int symbolizer_lock_in(void)
{
	/* sysinfo: qsort() asks how much memory there is. */
	static const int allowed[] = { SCMP_SYS(munmap), SCMP_SYS(mremap), SCMP_SYS(madvise),
		SCMP_SYS(brk), SCMP_SYS(sysinfo), SCMP_SYS(futex), SCMP_SYS(sched_yield),
		SCMP_SYS(exit), SCMP_SYS(exit_group), SCMP_SYS(rt_sigprocmask),
		SCMP_SYS(rt_sigreturn) };
	struct scmp_arg_cmp to_pipe = symbolizer_argument(0, SCMP_CMP_EQ, SYMBOLIZER_PIPE_FD, 0);
	struct scmp_arg_cmp no_code = symbolizer_argument(2, SCMP_CMP_MASKED_EQ, PROT_EXEC, 0);
	struct scmp_arg_cmp no_file = symbolizer_argument(
	        3, SCMP_CMP_MASKED_EQ, MAP_ANONYMOUS, MAP_ANONYMOUS);
	scmp_filter_ctx filter = seccomp_init(SCMP_ACT_KILL_PROCESS);
	int result = filter ? 0 : -ENOMEM;

	for (size_t i = 0; result == 0 && i < COUNT_OF(allowed); i++)
		result = seccomp_rule_add(filter, SCMP_ACT_ALLOW, allowed[i], 0);
	if (result == 0 && SYMBOLIZER_SANITIZED)
		result = seccomp_rule_add(filter, SCMP_ACT_ALLOW, SCMP_SYS(sigaltstack), 0);
	if (result == 0)
		result = seccomp_rule_add(filter, SCMP_ACT_ALLOW, SCMP_SYS(write), 1, to_pipe);
	if (result == 0)
		result = seccomp_rule_add(
		        filter, SCMP_ACT_ALLOW, SCMP_SYS(mmap), 2, no_code, no_file);
	if (result == 0)
		result = seccomp_rule_add(filter, SCMP_ACT_ALLOW, SCMP_SYS(mprotect), 1, no_code);
	if (result == 0)
		result = seccomp_load(filter);
	if (filter)
		seccomp_release(filter);
	return result;
}

static void symbolizer_write(const void *bytes, size_t count)
{
	const uint8_t *at = bytes;

	while (count > 0) {
		ssize_t written = write(SYMBOLIZER_PIPE_FD, at, count);

		if (written < 0 && errno == EINTR)
			continue;
		if (written <= 0)
			_exit(1);
		at += written;
		count -= (size_t)written;
	}
}

static _Noreturn void symbolizer_child(const struct symbolizer_request *request)
{
	AUTO_BUF table = { .limit = request->limits.result_bytes };
	void *image = MAP_FAILED;
	int32_t result = -ENOEXEC;

	if (request->file_bytes > 0) {
		image = mmap(
		        NULL, request->file_bytes, PROT_READ, MAP_PRIVATE, SYMBOLIZER_FILE_FD, 0);
		result = image == MAP_FAILED ? -errno : 0;
	}
	if (result == 0 && (symbolizer_limit_all(request->limits, request->file_bytes) < 0 ||
	                           symbolizer_lock_in() < 0))
		_exit(1);
	if (result == 0)
		result = symbolizer.work(image, request->file_bytes, &table);
	/* The table's bound shows as a failed buf, which the builder can only call out of memory.
	 */
	if (result == -ENOMEM && table.failed)
		result = -E2BIG;
	symbolizer_write(&result, sizeof(result));
	if (result == 0)
		symbolizer_write(table.bytes, table.count);
	_exit(0);
}

/* ---- helper ---- */

static void symbolizer_close_all_but(int from)
{
	if (syscall(SYS_close_range, (unsigned int)from, ~0U, 0) == 0)
		return;
	/* Kernels before 5.9. */
	for (int fd = from; fd < 65536; fd++)
		(void)close(fd);
}

/* Everything that can be given up is; what cannot (no right to change the user) was not there. */
static int symbolizer_drop_rights(void)
{
	struct __user_cap_header_struct header = { .version = _LINUX_CAPABILITY_VERSION_3 };
	struct __user_cap_data_struct none[2] = { { 0 }, { 0 } };

	for (unsigned long capability = 0; capability < 64; capability++)
		(void)prctl(PR_CAPBSET_DROP, capability, 0, 0, 0);
	if (geteuid() == 0 && setgroups(0, NULL) == 0 &&
	        (setresgid(SYMBOLIZER_NOBODY, SYMBOLIZER_NOBODY, SYMBOLIZER_NOBODY) < 0 ||
	                setresuid(SYMBOLIZER_NOBODY, SYMBOLIZER_NOBODY, SYMBOLIZER_NOBODY) < 0))
		return -errno;
	if (syscall(SYS_capset, &header, none) < 0)
		return -errno;
	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0 || prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) < 0)
		return -errno;
	return symbolizer_limit(RLIMIT_CORE, 0);
}

/* Waits for the child at most until the deadline, then kills it. 0 when it ended well. */
static int32_t symbolizer_await(pid_t child, uint64_t timeout_ms)
{
	uint64_t deadline = clock_monotonic_ns(clock_real()) + timeout_ms * NS_PER_MS;
	autoclose int handle = (int)syscall(SYS_pidfd_open, child, 0);
	int status;

	for (;;) {
		uint64_t now = clock_monotonic_ns(clock_real());
		struct pollfd ended = { .fd = handle, .events = POLLIN };

		if (handle < 0 || now >= deadline) {
			(void)kill(child, SIGKILL);
			break;
		}
		if (poll(&ended, 1, (int)((deadline - now) / NS_PER_MS) + 1) > 0)
			break;
	}
	while (waitpid(child, &status, 0) < 0) {
		if (errno != EINTR)
			return -ECHILD;
	}
	return WIFEXITED(status) && WEXITSTATUS(status) == 0 ? 0 : -ECHILD;
}

/* The request with its two files, into fixed places. False when the agent is gone. */
static bool symbolizer_receive(int from, struct symbolizer_request *ret_request)
{
	union {
		struct cmsghdr header;
		char bytes[CMSG_SPACE(2 * sizeof(int))];
	} control;
	struct iovec part = { .iov_base = ret_request, .iov_len = sizeof(*ret_request) };
	struct msghdr message = { .msg_iov = &part,
		.msg_iovlen = 1,
		.msg_control = &control,
		.msg_controllen = sizeof(control) };
	ssize_t count;
	int fds[2];

	do
		count = recvmsg(from, &message, 0);
	while (count < 0 && errno == EINTR);

	struct cmsghdr *header = CMSG_FIRSTHDR(&message);
	if (count != sizeof(*ret_request) || !header || header->cmsg_len != CMSG_LEN(sizeof(fds)))
		return false;
	memcpy(fds, CMSG_DATA(header), sizeof(fds));
	/* The socket is 0 and all else is closed, so the files arrive as the lowest numbers free.
	 */
	return fds[0] == SYMBOLIZER_FILE_FD && fds[1] == SYMBOLIZER_PIPE_FD;
}

static _Noreturn void symbolizer_helper(int socket)
{
	struct symbolizer_request request;
	sigset_t none;

	/* Handlers of whoever forked us would run in us. */
	for (int number = 1; number < NSIG; number++)
		(void)sigaction(number, &(struct sigaction){ .sa_handler = SIG_DFL }, NULL);
	/* Ctrl-C at a terminal and a service manager's SIGTERM are the agent's to handle: it may
	 * need us yet. */
	(void)setsid();
	(void)sigaction(SIGTERM, &(struct sigaction){ .sa_handler = SIG_IGN }, NULL);
	(void)sigaction(SIGHUP, &(struct sigaction){ .sa_handler = SIG_IGN }, NULL);
	(void)sigaction(SIGINT, &(struct sigaction){ .sa_handler = SIG_IGN }, NULL);
	(void)sigemptyset(&none);
	(void)sigprocmask(SIG_SETMASK, &none, NULL);
	(void)prctl(PR_SET_NAME, "profleet-symbol", 0, 0, 0);
	if (chdir("/") < 0)
		_exit(1);

	/* Standard error stays, so that an assertion can be heard. */
	if (dup2(socket, 0) < 0 || dup2(2, 1) < 0)
		_exit(1);
	symbolizer_close_all_but(3);
	if (symbolizer_drop_rights() < 0)
		_exit(1);

	while (symbolizer_receive(0, &request)) {
		pid_t child = fork();
		int32_t result = -EAGAIN;

		if (child == 0) {
			(void)sigaction(
			        SIGTERM, &(struct sigaction){ .sa_handler = SIG_DFL }, NULL);
			(void)close(0);
			symbolizer_child(&request);
		}
		(void)close(SYMBOLIZER_FILE_FD);
		(void)close(SYMBOLIZER_PIPE_FD);
		if (child > 0)
			result = symbolizer_await(child, (uint64_t)request.limits.cpu_s * 2000);
		if (send(0, &result, sizeof(result), MSG_NOSIGNAL) != sizeof(result))
			break;
	}
	_exit(0);
}

/* ---- agent ---- */

static void symbolizer_forget(void)
{
	if (symbolizer.pid == 0)
		return;
	(void)close(symbolizer.socket);
	symbolizer.socket = -1;
	while (waitpid(symbolizer.pid, NULL, 0) < 0 && errno == EINTR)
		;
	symbolizer.pid = 0;
}

static int symbolizer_start_locked(void)
{
	int sockets[2];

	if (symbolizer.pid != 0)
		return 0;
	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, sockets) < 0)
		return -errno;

	pid_t pid = fork();
	if (pid == 0)
		symbolizer_helper(sockets[1]);
	(void)close(sockets[1]);
	if (pid < 0) {
		int result = -errno;
		(void)close(sockets[0]);
		return result;
	}
	symbolizer.pid = pid;
	symbolizer.socket = sockets[0];
	return 0;
}

int symbolizer_start(void)
{
	pthread_mutex_lock(&symbolizer.lock);
	int result = symbolizer_start_locked();
	pthread_mutex_unlock(&symbolizer.lock);
	return result;
}

void symbolizer_stop(void)
{
	pthread_mutex_lock(&symbolizer.lock);
	symbolizer_forget();
	pthread_mutex_unlock(&symbolizer.lock);
}

static int symbolizer_send(const struct symbolizer_request *request, int file, int pipe)
{
	union {
		struct cmsghdr header;
		char bytes[CMSG_SPACE(2 * sizeof(int))];
	} control = { 0 };
	struct iovec part = { .iov_base = (void *)(uintptr_t)request, .iov_len = sizeof(*request) };
	struct msghdr message = { .msg_iov = &part,
		.msg_iovlen = 1,
		.msg_control = &control,
		.msg_controllen = sizeof(control) };
	struct cmsghdr *header = CMSG_FIRSTHDR(&message);
	int fds[2] = { file, pipe };

	header->cmsg_level = SOL_SOCKET;
	header->cmsg_type = SCM_RIGHTS;
	header->cmsg_len = CMSG_LEN(sizeof(fds));
	memcpy(CMSG_DATA(header), fds, sizeof(fds));
	ssize_t count = sendmsg(symbolizer.socket, &message, MSG_NOSIGNAL);
	return count == sizeof(*request) ? 0 : -ECHILD;
}

static int symbolizer_ask(int fd, const struct symbolizer_request *request, struct buf *to)
{
	int ends[2];
	int32_t ended;
	int32_t result;
	AUTO_BUF reply = { 0 };

	if (pipe2(ends, O_CLOEXEC) < 0)
		return -errno;
	autoclose int reading = ends[0];
	int sent = symbolizer_send(request, fd, ends[1]);
	(void)close(ends[1]);
	if (sent < 0) {
		symbolizer_forget();
		return sent;
	}

	/* Ends when the last writer is gone: the child, or the helper with a deadline for it. */
	int got = whole_file_read_some(
	        reading, request->limits.result_bytes + sizeof(result), &reply);
	(void)close(TAKE_FD(reading));
	ssize_t count;
	do
		count = recv(symbolizer.socket, &ended, sizeof(ended), 0);
	while (count < 0 && errno == EINTR);
	if (count != sizeof(ended)) {
		symbolizer_forget();
		return -ECHILD;
	}
	if (got < 0)
		return got;
	if (ended < 0 || reply.count < sizeof(result))
		return ended == -EAGAIN ? -EAGAIN : -ECHILD;

	memcpy(&result, reply.bytes, sizeof(result));
	if (result == 0) {
		buf_put(to, reply.bytes + sizeof(result), reply.count - sizeof(result));
		return to->failed ? -ENOMEM : 0;
	}
	/* The child may be anybody by now, so only what it is allowed to say counts. */
	return result == -ENODATA || result == -ENOEXEC || result == -ENOMEM || result == -E2BIG
	               ? result
	               : -ECHILD;
}

int symbolizer_extract(int fd, struct symbolizer_limits limits, struct buf *to)
{
	struct symbolizer_request request = { .limits = limits };
	struct stat status;

	if (fstat(fd, &status) < 0)
		return -errno;
	if (!S_ISREG(status.st_mode))
		return -EINVAL;
	request.file_bytes = (uint64_t)status.st_size;
	/* Mapped, and the pages can be had back: large only by their debugging information. */
	if (request.file_bytes / SYMBOLIZER_FILE_SHARE > limits.memory_bytes)
		return -E2BIG;

	pthread_mutex_lock(&symbolizer.lock);
	int result = symbolizer_start_locked();
	if (result == 0)
		result = symbolizer_ask(fd, &request, to);
	pthread_mutex_unlock(&symbolizer.lock);
	return result;
}
