/* Signals to this very process, and what a script or systemd is told. */

#include "core/service.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "tests/lib/test.h"

static void signals_become_events(void **state)
{
	static const struct {
		int signals[3];
		enum service_event event;
	} cases[] = {
		{ { SIGHUP }, SERVICE_RELOAD },
		{ { SIGINT }, SERVICE_STOP }, /* the only one: another would kill */
		{ { SIGTERM }, SERVICE_STOP },
		{ { SIGHUP, SIGTERM, SIGHUP }, SERVICE_STOP },
	};
	for (size_t i = 0; i < COUNT_OF(cases); i++) {
		for (size_t n = 0; n < COUNT_OF(cases[i].signals) && cases[i].signals[n]; n++)
			CHECK(kill(getpid(), cases[i].signals[n]) == 0);
		assert_int_equal(service_wait(-1), cases[i].event);
		assert_int_equal(service_wait(0), SERVICE_TIMEOUT);
	}
}

static void broken_pipe_is_an_error_and_no_death(void **state)
{
	int ends[2];
	CHECK(pipe(ends) == 0);
	close(ends[0]);
	CHECK(write(ends[1], "x", 1) < 0);
	close(ends[1]);
	assert_int_equal(service_wait(0), SERVICE_TIMEOUT);
}

static void wait_ends_with_its_timeout(void **state)
{
	assert_int_equal(service_wait(1), SERVICE_TIMEOUT);
}

static void second_interrupt_is_let_through(void **state)
{
	sigset_t blocked;
	CHECK(kill(getpid(), SIGTERM) == 0);
	assert_int_equal(service_wait(-1), SERVICE_STOP);
	CHECK(pthread_sigmask(SIG_BLOCK, NULL, &blocked) == 0);
	CHECK(!sigismember(&blocked, SIGINT));
	CHECK(sigismember(&blocked, SIGTERM));
}

static void *prefer_another_thread(void *argument)
{
	int *niceness = argument;
	int before = getpriority(PRIO_PROCESS, 0);
	int r = service_prefer_thread();
	niceness[0] = getpriority(PRIO_PROCESS, 0) - before;
	assert_true(r == 0 || r == -EACCES || r == -EPERM);
	assert_int_equal(niceness[0], r == 0 ? -SERVICE_PREFERENCE : 0);
	if (r == 0)
		service_prefer_thread_no_more();
	niceness[1] = getpriority(PRIO_PROCESS, 0) - before;
	return NULL;
}

/* From a niceness that leaves room below it, which any user may take. */
static void only_the_thread_that_asks_is_preferred(void **state)
{
	pthread_t thread;
	int niceness[2] = { 1, 1 };
	CHECK(setpriority(PRIO_PROCESS, 0, 10) == 0);
	CHECK(pthread_create(&thread, NULL, prefer_another_thread, niceness) == 0);
	CHECK(pthread_join(thread, NULL) == 0);
	assert_int_equal(niceness[1], 0);
	assert_int_equal(getpriority(PRIO_PROCESS, 0), 10);
}

static void ready_is_one_line_and_an_end_of_file(void **state)
{
	int ends[2];
	char line[64] = "";
	CHECK(pipe(ends) == 0);
	CHECK(service_fd_is_open(ends[1]));
	service_ready(ends[1], "tcp://127.0.0.1:7470");
	CHECK(!service_fd_is_open(ends[1]));
	FILE *said = fdopen(ends[0], "r");
	assert_non_null(said);
	assert_non_null(fgets(line, sizeof(line), said));
	assert_string_equal(line, "ready tcp://127.0.0.1:7470\n");
	assert_null(fgets(line, sizeof(line), said));
	fclose(said);
	service_ready(-1, "no script waits");
}

static void service_manager_is_told(void **state)
{
	TEST_DIR(dir);
	struct sockaddr_un at = { .sun_family = AF_UNIX };
	char told[256];
	snprintf(at.sun_path, sizeof(at.sun_path), "%.100s/n", dir.path);
	int fd = socket(AF_UNIX, SOCK_DGRAM, 0);
	CHECK(fd >= 0 && bind(fd, (struct sockaddr *)&at, sizeof(at)) == 0);
	setenv("NOTIFY_SOCKET", at.sun_path, 1);

	static const struct {
		const char *call, *told;
	} expected[] = { { "ready", "READY=1\nSTATUS=serving" }, { "stopping", "STOPPING=1" } };
	service_ready(-1, "serving");
	service_stopping();
	for (size_t i = 0; i < COUNT_OF(expected); i++) {
		ssize_t n = recv(fd, told, sizeof(told) - 1, MSG_DONTWAIT);
		CHECK(n > 0);
		told[n] = 0;
		assert_string_equal(told, expected[i].told);
	}
	unsetenv("NOTIFY_SOCKET");
	close(fd);
}

int main(void)
{
	if (service_init() < 0)
		return 1;
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(broken_pipe_is_an_error_and_no_death),
		cmocka_unit_test(wait_ends_with_its_timeout),
		cmocka_unit_test(signals_become_events),
		cmocka_unit_test(only_the_thread_that_asks_is_preferred),
		cmocka_unit_test(second_interrupt_is_let_through),
		cmocka_unit_test(ready_is_one_line_and_an_end_of_file),
		cmocka_unit_test(service_manager_is_told),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
