/* labeler: which labels a process gets, written as one line of text per case. */

#include "agent/labeler.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/lib/test.h"

/* The options hold text that is theirs to free; here it is on the stack. */
#define TEXT(literal) ((char[]){ literal })

#define ID "6f1b8a3c5d7e9f00112233445566778899aabbccddeeff00112233445566778a"

static char *variables_service[] = { TEXT("OTEL_SERVICE_NAME"), TEXT("SERVICE") };
static char *variables_version[] = { TEXT("VERSION") };
static char *variables_labels[] = { TEXT("region=REGION"), TEXT("zone=ZONE") };

static struct labeler_options plain_options(void)
{
	return (struct labeler_options){ .host = "web-1" };
}

static struct process_facts nginx(void)
{
	return (struct process_facts){ .pid = 4242,
		.start_ticks = 1000,
		.group = 4240,
		.group_start_ticks = 990,
		.comm = "nginx",
		.exe = "/usr/sbin/nginx",
		.cgroup = "/system.slice/web.service" };
}

/* "name=value name=value ...", sorted by name. */
static void labels_text(
        struct labeler_options options, struct process_facts facts, char *ret_text, size_t bytes)
{
	AUTO(dict) dict = dict_new(dict_limits_default);
	AUTO(labeler) labeler = NULL;
	char error[256] = "";
	uint32_t id;
	size_t at = 0;

	assert_non_null(dict);
	if (labeler_new(options, &labeler, error, sizeof(error)) < 0)
		fail_msg("%s", error);
	CHECK_OK(labeler_series(labeler, &facts, "cpu", "nanoseconds", 20408163, dict, &id));

	const struct series *series = dict_get_series(dict, id);
	const struct label *labels = dict_get_labels(dict, id);
	assert_string_equal(dict_text(dict, series->type), "cpu");
	assert_string_equal(dict_text(dict, series->unit), "nanoseconds");
	assert_int_equal(series->period, 20408163);
	ret_text[0] = 0;
	for (uint32_t i = 0; i < series->labels_count; i++)
		at += (size_t)snprintf(ret_text + at, bytes - at, "%s%s=%s", i ? " " : "",
		        dict_text(dict, labels[i].name), dict_text(dict, labels[i].value));
}

static void expect(struct labeler_options options, struct process_facts facts, const char *expected)
{
	char text[4096];

	labels_text(options, facts, text, sizeof(text));
	assert_string_equal(text, expected);
}

static void a_unit_names_the_service(void **state)
{
	expect(plain_options(), nginx(),
	        "cgroup=web.service comm=nginx exe=/usr/sbin/nginx host=web-1 "
	        "instance=web-1:4240-990 service=web "
	        "unit=web.service");
}

/* The order of the rules: environment (tested below), container, unit, comm. */
static void a_named_container_is_the_service_before_its_unit(void **state)
{
	struct process_facts facts = nginx();

	facts.cgroup = "/lxc.payload.shop/system.slice/web.service";
	expect(plain_options(), facts,
	        "cgroup=web.service comm=nginx container=shop container_runtime=lxc "
	        "exe=/usr/sbin/nginx host=web-1 instance=web-1:4240-990 service=shop "
	        "unit=web.service");
}

static void units_that_are_no_services_do_not_count(void **state)
{
	static const char *const cgroups[] = { "/init.scope", "/user.slice/session-1.scope",
		"/user.slice/user@1000.service/app.slice", "/system.slice/run-u17.service",
		"/system.slice/foo.socket", "/", "", "/.service" };

	for (size_t i = 0; i < COUNT_OF(cgroups); i++) {
		struct process_facts facts = nginx();
		char text[4096];

		facts.cgroup = cgroups[i];
		labels_text(plain_options(), facts, text, sizeof(text));
		assert_non_null(strstr(text, " service=nginx"));
	}
}

static void a_container_is_an_instance(void **state)
{
	struct process_facts facts = nginx();

	facts.cgroup = "/kubepods/burstable/pod0bd6f6fd-e8b8-4aa5-b6a8-0c5e2f3b1a11/crio-" ID;
	expect(plain_options(), facts,
	        "cgroup=crio-" ID " comm=nginx container=" ID
	        " container_runtime=crio exe=/usr/sbin/nginx "
	        "host=web-1 instance=6f1b8a3c5d7e pod_uid=0bd6f6fd-e8b8-4aa5-b6a8-0c5e2f3b1a11 "
	        "service=nginx");
}

static void kernel_threads_are_one_service(void **state)
{
	struct process_facts facts = { .pid = 17, .comm = "kworker/0:1", .exe = "", .cgroup = "/" };

	expect(plain_options(), facts,
	        "comm=kworker/0:1 host=web-1 instance=web-1:kernel service=kernel");
}

static void a_process_of_which_nothing_is_known_has_a_series(void **state)
{
	struct process_facts facts = {
		.pid = 17, .group = 17, .comm = "", .exe = "", .cgroup = ""
	};

	expect((struct labeler_options){ 0 }, facts,
	        "host=localhost instance=localhost:17-0 service=unknown");
}

static void only_listed_variables_are_read(void **state)
{
	static const char environ[] =
	        "PATH=/bin\0SERVICE=cart\0VERSION=1.9.2\0REGION=eu\0SECRET=hunter2\0ZONE=";
	struct labeler_options options = plain_options();
	struct process_facts facts = nginx();

	facts.environ = environ;
	facts.environ_bytes = sizeof(environ) - 1;
	expect(options, facts,
	        "cgroup=web.service comm=nginx exe=/usr/sbin/nginx host=web-1 "
	        "instance=web-1:4240-990 service=web "
	        "unit=web.service");

	options.environ_service = (struct option_list){ variables_service,
		COUNT_OF(variables_service) };
	options.environ_version = (struct option_list){ variables_version,
		COUNT_OF(variables_version) };
	options.environ_labels = (struct option_list){ variables_labels,
		COUNT_OF(variables_labels) };
	expect(options, facts,
	        "cgroup=web.service comm=nginx exe=/usr/sbin/nginx host=web-1 "
	        "instance=web-1:4240-990 region=eu "
	        "service=cart unit=web.service version=1.9.2");
}

static void the_first_listed_variable_wins(void **state)
{
	static const char environ[] =
	        "SERVICE=cart\0XOTEL_SERVICE_NAME=no\0OTEL_SERVICE_NAME=basket";
	struct labeler_options options = plain_options();
	struct process_facts facts = nginx();
	char text[4096];

	options.environ_service = (struct option_list){ variables_service,
		COUNT_OF(variables_service) };
	facts.environ = environ;
	facts.environ_bytes = sizeof(
	        environ); /* with a zero behind the last, as the kernel has it */
	labels_text(options, facts, text, sizeof(text));
	assert_non_null(strstr(text, " service=basket "));
}

static void environ_is_wanted_only_where_a_rule_reads_it(void **state)
{
	for (int i = 0; i < 4; i++) {
		struct labeler_options options = plain_options();
		AUTO(labeler) labeler = NULL;
		char error[256];

		if (i == 1)
			options.environ_service = (struct option_list){ variables_service, 1 };
		if (i == 2)
			options.environ_version = (struct option_list){ variables_version, 1 };
		if (i == 3)
			options.environ_labels = (struct option_list){ variables_labels, 1 };
		CHECK_OK(labeler_new(options, &labeler, error, sizeof(error)));
		assert_int_equal(labeler_wants_environ(labeler), i > 0);
	}
}

static void given_labels_replace_known_ones(void **state)
{
	char *labels[] = { TEXT("region=eu=1"), TEXT("host=other") };
	struct labeler_options options = plain_options();
	struct process_facts facts = nginx();

	facts.cgroup = "";
	options.labels = (struct option_list){ labels, 2 };
	expect(options, facts,
	        "comm=nginx exe=/usr/sbin/nginx host=other instance=web-1:4240-990 region=eu=1 "
	        "service=nginx");
}

static void relabel_rules_run_in_order(void **state)
{
	const struct relabel_rule rules[] = {
		{ TEXT("exe"), TEXT("/usr/(s?bin)/(.*)"), TEXT("program"), TEXT("\\2@\\1\\\\") },
		{ TEXT("program"), TEXT("nginx@.*"), TEXT("service"), TEXT("edge") },
		{ TEXT("exe"), TEXT("nginx"), TEXT("never"), TEXT("anchored") },
		{ TEXT("cgroup"), TEXT(".*"), TEXT(""), TEXT("") },
		{ TEXT("unit"), TEXT("(x)?(w.*)"), TEXT("missing"), TEXT("[\\1]") },
		{ TEXT("absent"), TEXT(""), TEXT("was_absent"), TEXT("yes") },
		{ TEXT("comm"), TEXT(".*"), TEXT("comm"), TEXT("") },
	};
	struct labeler_options options = plain_options();

	options.relabel = rules;
	options.relabel_count = COUNT_OF(rules);
	expect(options, nginx(),
	        "exe=/usr/sbin/nginx host=web-1 instance=web-1:4240-990 missing=[] "
	        "program=nginx@sbin\\ "
	        "service=edge unit=web.service was_absent=yes");
}

static void host_service_and_instance_cannot_be_removed(void **state)
{
	const struct relabel_rule rules[] = {
		{ TEXT("host"), TEXT(".*"), TEXT(""), TEXT("") },
		{ TEXT("service"), TEXT(".*"), TEXT("service"), TEXT("") },
		{ TEXT("instance"), TEXT(".*"), TEXT(""), TEXT("") },
	};
	struct labeler_options options = plain_options();
	struct process_facts facts = nginx();

	options.relabel = rules;
	options.relabel_count = COUNT_OF(rules);
	facts.cgroup = "";
	expect(options, facts,
	        "comm=nginx exe=/usr/sbin/nginx host=web-1 instance=web-1:4240-990 service=nginx");
}

static void values_are_cut_and_cleaned(void **state)
{
	struct process_facts facts = nginx();
	char comm[300];
	char expected[600];

	/* 127 bytes and then a character of two: it does not fit and is not split. */
	memset(comm, 'a', 127);
	snprintf(comm + 127, sizeof(comm) - 127, "\xc3\xa4tail");
	facts.comm = comm;
	facts.exe = "/a\033[31m\n\xff\xe2\x80\xae"
	            "b";
	facts.cgroup = "";
	snprintf(expected, sizeof(expected),
	        "comm=%.127s exe=/a"
	        "\xef\xbf\xbd"
	        "[31m"
	        "\xef\xbf\xbd"
	        "\xef\xbf\xbd"
	        "\xef\xbf\xbd"
	        "b host=web-1 instance=web-1:4240-990 service=%.127s",
	        comm, comm);
	expect(plain_options(), facts, expected);
}

static void broken_rules_are_named(void **state)
{
	char *bad_labels[] = { TEXT("novalue"), TEXT("=x"), TEXT("1a=x"), TEXT("a-b=x"),
		TEXT("a=") };
	const struct relabel_rule bad_rules[] = {
		{ TEXT("exe"), TEXT("("), TEXT("target"), TEXT("") },
		{ TEXT(""), TEXT("x"), TEXT("target"), TEXT("") },
		{ TEXT("exe"), TEXT("x"), TEXT("bad-name"), TEXT("") },
	};
	char error[256];

	for (size_t i = 0; i < COUNT_OF(bad_labels); i++) {
		struct labeler_options options = plain_options();
		struct labeler *labeler = NULL;

		options.labels = (struct option_list){ &bad_labels[i], 1 };
		assert_int_equal(labeler_new(options, &labeler, error, sizeof(error)), -EINVAL);
		assert_non_null(strstr(error, bad_labels[i]));
		assert_null(labeler);
	}
	for (size_t i = 0; i < COUNT_OF(bad_rules); i++) {
		struct labeler_options options = plain_options();
		struct labeler *labeler = NULL;

		options.relabel = &bad_rules[i];
		options.relabel_count = 1;
		assert_int_equal(labeler_new(options, &labeler, error, sizeof(error)), -EINVAL);
		assert_memory_equal(error, "relabel rule 1: ", 16);
	}
}

static void more_labels_than_a_series_holds_are_refused(void **state)
{
	char texts[60][16];
	char *items[60];
	struct labeler_options options = plain_options();
	AUTO(labeler) labeler = NULL;
	char error[256];

	for (int i = 0; i < 60; i++) {
		snprintf(texts[i], sizeof(texts[i]), "l%d=x", i);
		items[i] = texts[i];
	}
	options.labels = (struct option_list){ items, 60 };
	assert_int_equal(labeler_new(options, &labeler, error, sizeof(error)), -EINVAL);
	options.labels.count = 53;
	CHECK_OK(labeler_new(options, &labeler, error, sizeof(error)));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_unit_names_the_service),
		cmocka_unit_test(a_named_container_is_the_service_before_its_unit),
		cmocka_unit_test(units_that_are_no_services_do_not_count),
		cmocka_unit_test(a_container_is_an_instance),
		cmocka_unit_test(kernel_threads_are_one_service),
		cmocka_unit_test(a_process_of_which_nothing_is_known_has_a_series),
		cmocka_unit_test(only_listed_variables_are_read),
		cmocka_unit_test(the_first_listed_variable_wins),
		cmocka_unit_test(environ_is_wanted_only_where_a_rule_reads_it),
		cmocka_unit_test(given_labels_replace_known_ones),
		cmocka_unit_test(relabel_rules_run_in_order),
		cmocka_unit_test(host_service_and_instance_cannot_be_removed),
		cmocka_unit_test(values_are_cut_and_cleaned),
		cmocka_unit_test(broken_rules_are_named),
		cmocka_unit_test(more_labels_than_a_series_holds_are_refused),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
