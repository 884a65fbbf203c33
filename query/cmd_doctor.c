/*
 * doctor: looks at this host and at the aggregator, and says for each thing found whether it is
 * well and what to do when it is not. It changes nothing. Every check is one row of the list at the
 * end.
 */

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "core/auto.h"
#include "core/clock.h"
#include "core/json.h"
#include "core/version.h"
#include "query/agents.h"
#include "query/client.h"
#include "query/cmd_list.h"
#include "query/complain.h"
#include "query/json_reply.h"
#include "query/output.h"
#include "query/text.h"
#include "query/units.h"

#define DOCTOR_FINDINGS_MAX   32
#define DOCTOR_SKEW_WARN_NS   (2 * NS_PER_S)
#define DOCTOR_DISK_WARN_PART 0.10
#define DOCTOR_DISK_FAIL_PART 0.02

/* Numbers of linux/capability.h, which older headers lack. */
#define DOCTOR_CAP_SYSLOG  34
#define DOCTOR_CAP_ADMIN   21
#define DOCTOR_CAP_PERFMON 38
#define DOCTOR_CAP_BPF     39

struct doctor_args {
	struct shared_args shared;
	bool host_only;
	uint32_t format;
	char *out;
};

static const char *const doctor_formats[] = { "table", "json", NULL };

static const struct option_spec doctor_options[] = {
	{ .name = "host-only",
	        .kind = OPTION_FLAG,
	        .offset = offsetof(struct doctor_args, host_only),
	        .help = "leave the aggregator out" },
	FORMAT_OPTION(doctor_args, doctor_formats),
	OUT_OPTION(doctor_args),
	SHARED_OPTIONS(doctor_args),
	{ 0 },
};

static const struct option_table doctor_table = {
	.program = "profleet doctor",
	.summary = "check this host and the aggregator, and say what to do",
	.usage = "[options]",
	.description =
	        "Checks what sampling needs on this host (kernel, BTF, capabilities of the user "
	        "who "
	        "asks, perf and kptr settings) and how the aggregator is (reachable, version, "
	        "clock, "
	        "disk, agents that are silent or lose samples). Each line is ok, warn or fail, "
	        "with "
	        "what to do. It changes nothing.\n\n"
	        "Capabilities are those of this process: run it as the user that runs the agent.",
	.examples = "profleet doctor\nsudo -u profleet profleet doctor --host-only\n",
	.exit_codes = EXIT_CODES_TEXT,
	.options = doctor_options,
};

enum doctor_state { DOCTOR_OK, DOCTOR_WARN, DOCTOR_FAIL };

static const char *const doctor_states[] = { "ok", "warn", "fail" };

struct doctor_finding {
	enum doctor_state state;
	const char *check; /* static text, stable: "kernel.btf" */
	char found[200];
	const char *remedy; /* static text, "" when there is nothing to do */
};

struct doctor {
	struct doctor_finding findings[DOCTOR_FINDINGS_MAX];
	uint32_t count;
	bool has_perfmon;
};

static void doctor_say(struct doctor *doctor, enum doctor_state state, const char *check,
        const char *remedy, const char *format, ...) __attribute__((format(printf, 5, 6)));

static void doctor_say(struct doctor *doctor, enum doctor_state state, const char *check,
        const char *remedy, const char *format, ...)
{
	if (doctor->count == DOCTOR_FINDINGS_MAX)
		return;
	struct doctor_finding *finding = &doctor->findings[doctor->count++];
	finding->state = state;
	finding->check = check;
	finding->remedy = state == DOCTOR_OK ? "" : remedy;
	va_list values;
	va_start(values, format);
	(void)vsnprintf(finding->found, sizeof(finding->found), format, values);
	va_end(values);
}

/* The first line of a small file of /proc or /sys; false when it cannot be read. */
static bool doctor_read(const char *path, char *text, size_t text_bytes)
{
	autoclose int fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return false;
	ssize_t count = read(fd, text, text_bytes - 1);
	if (count < 0)
		return false;
	text[count] = '\0';
	text[strcspn(text, "\n")] = '\0';
	return true;
}

static bool doctor_read_number(const char *path, long *ret_number)
{
	char text[64], *end;
	if (!doctor_read(path, text, sizeof(text)))
		return false;
	errno = 0;
	long number = strtol(text, &end, 10);
	if (errno || end == text)
		return false;
	*ret_number = number;
	return true;
}

static void doctor_kernel(struct doctor *doctor)
{
	struct utsname name;
	unsigned int major = 0, minor = 0;
	if (uname(&name) < 0 || sscanf(name.release, "%u.%u", &major, &minor) != 2) {
		doctor_say(doctor, DOCTOR_WARN, "kernel.version", "look at uname -r", "unknown");
		return;
	}
	/* CAP_BPF and the BPF ring buffer are of 5.8. */
	bool enough = major > 5 || (major == 5 && minor >= 8);
	doctor_say(doctor, enough ? DOCTOR_OK : DOCTOR_WARN, "kernel.version",
	        "eBPF sampling needs Linux 5.8; the agent falls back to a plain perf ring",
	        "Linux %s", name.release);

	bool btf = access("/sys/kernel/btf/vmlinux", R_OK) == 0;
	doctor_say(doctor, btf ? DOCTOR_OK : DOCTOR_WARN, "kernel.btf",
	        "use a kernel with CONFIG_DEBUG_INFO_BTF=y; without it the agent takes the plain "
	        "perf ring",
	        "/sys/kernel/btf/vmlinux %s", btf ? "is there" : "is missing");
}

static void doctor_capabilities(struct doctor *doctor)
{
	static const struct {
		unsigned int number;
		const char *check;
		const char *remedy;
	} wanted[] = {
		{ DOCTOR_CAP_BPF, "capability.bpf",
		        "run the agent with CAP_BPF (systemd: AmbientCapabilities=CAP_BPF "
		        "CAP_PERFMON)" },
		{ DOCTOR_CAP_PERFMON, "capability.perfmon",
		        "run the agent with CAP_PERFMON, or set kernel.perf_event_paranoid=0" },
		{ DOCTOR_CAP_SYSLOG, "capability.syslog",
		        "give CAP_SYSLOG to name kernel functions, or set kernel.kptr_restrict=0" },
	};

	FILE *file = fopen("/proc/self/status", "re");
	char line[256];
	unsigned long long effective = 0;
	bool found = false;
	while (file && !found && fgets(line, sizeof(line), file))
		if (strncmp(line, "CapEff:", 7) == 0) {
			effective = strtoull(line + 7, NULL, 16);
			found = true;
		}
	if (file)
		fclose(file);
	if (!found) {
		doctor_say(doctor, DOCTOR_WARN, "capability", "is /proc mounted?",
		        "/proc/self/status says nothing");
		return;
	}
	for (size_t i = 0; i < COUNT_OF(wanted); i++) {
		bool admin = effective >> DOCTOR_CAP_ADMIN & 1;
		bool own = effective >> wanted[i].number & 1;
		/* CAP_SYS_ADMIN contains the first two, and not CAP_SYSLOG. */
		bool granted = own || (admin && wanted[i].number != DOCTOR_CAP_SYSLOG);
		if (wanted[i].number == DOCTOR_CAP_PERFMON)
			doctor->has_perfmon = granted;
		doctor_say(doctor, granted ? DOCTOR_OK : DOCTOR_WARN, wanted[i].check,
		        wanted[i].remedy, "this process (uid %u) %s it", (unsigned int)geteuid(),
		        granted ? "has" : "lacks");
	}
}

static void doctor_settings(struct doctor *doctor)
{
	long number;
	if (doctor_read_number("/proc/sys/kernel/perf_event_paranoid", &number))
		/* From 1 on, whole CPUs are only for those with CAP_PERFMON. */
		doctor_say(doctor, number <= 0 || doctor->has_perfmon ? DOCTOR_OK : DOCTOR_WARN,
		        "perf.paranoid",
		        "this process can sample nothing: grant CAP_PERFMON, or sysctl "
		        "kernel.perf_event_paranoid=0",
		        "kernel.perf_event_paranoid = %ld", number);
	else
		doctor_say(doctor, DOCTOR_WARN, "perf.paranoid",
		        "a kernel without perf events cannot be sampled: CONFIG_PERF_EVENTS=y",
		        "kernel.perf_event_paranoid cannot be read");
	if (doctor_read_number("/proc/sys/kernel/perf_event_max_sample_rate", &number))
		doctor_say(doctor, number >= 49 ? DOCTOR_OK : DOCTOR_WARN, "perf.max_sample_rate",
		        "raise it: sysctl kernel.perf_event_max_sample_rate=10000; the agent "
		        "samples no "
		        "faster than this",
		        "kernel.perf_event_max_sample_rate = %ld", number);
	if (doctor_read_number("/proc/sys/kernel/kptr_restrict", &number))
		doctor_say(doctor, number <= 1 ? DOCTOR_OK : DOCTOR_WARN, "kernel.kptr_restrict",
		        "kernel functions stay without names: sysctl kernel.kptr_restrict=1 and "
		        "grant "
		        "CAP_SYSLOG",
		        "kernel.kptr_restrict = %ld", number);

	struct rlimit limit;
	if (getrlimit(RLIMIT_MEMLOCK, &limit) == 0) {
		bool enough = limit.rlim_cur == RLIM_INFINITY || limit.rlim_cur >= (8u << 20);
		if (limit.rlim_cur == RLIM_INFINITY)
			doctor_say(doctor, DOCTOR_OK, "limit.memlock", "", "unlimited");
		else
			doctor_say(doctor, enough ? DOCTOR_OK : DOCTOR_WARN, "limit.memlock",
			        "the plain perf ring locks memory: LimitMEMLOCK=64M, or grant "
			        "CAP_IPC_LOCK",
			        "%s", units_bytes(limit.rlim_cur).text);
	}
}

static void doctor_folded(struct doctor *doctor, const json_t *counters)
{
	uint64_t folded = json_reply_u64(counters, "store_samples_folded");
	uint64_t samples = json_reply_u64(counters, "store_samples");
	doctor_say(doctor, folded ? DOCTOR_WARN : DOCTOR_OK, "aggregator.stacks",
	        "some service never says the same twice: answers name what it costs them "
	        "(`folded`); find it by `profleet usage --by service`, or raise service-stacks",
	        "%s of %s samples folded past service-stacks", units_count(folded).text,
	        units_count(samples).text);
}

static void doctor_store(struct doctor *doctor, const json_t *status)
{
	const json_t *store = json_object_get(status, "store");
	uint64_t free_bytes = json_reply_u64(store, "disk_free_bytes");
	uint64_t size_bytes = json_reply_u64(store, "disk_size_bytes");
	double part = size_bytes ? (double)free_bytes / (double)size_bytes : 1;
	enum doctor_state state = part < DOCTOR_DISK_FAIL_PART   ? DOCTOR_FAIL
	                          : part < DOCTOR_DISK_WARN_PART ? DOCTOR_WARN
	                                                         : DOCTOR_OK;
	if (size_bytes)
		doctor_say(doctor, state, "aggregator.disk",
		        "make room where its --data is: when the disk is full, agents keep their "
		        "spools",
		        "%s free of %s, %s used by the store", units_bytes(free_bytes).text,
		        units_bytes(size_bytes).text,
		        units_bytes(json_reply_u64(store, "bytes_disk")).text);

	uint64_t unreadable = json_reply_u64(store, "unreadable");
	doctor_say(doctor, unreadable ? DOCTOR_WARN : DOCTOR_OK, "aggregator.blocks",
	        "answers name what they miss by them: stop the aggregator, run it with --verify, "
	        "restore a backup",
	        "%s unreadable", units_count(unreadable).text);

	doctor_folded(doctor, json_object_get(status, "counters"));

	const json_t *healthy = json_object_get(status, "healthy");
	if (json_is_boolean(healthy))
		doctor_say(doctor, json_is_true(healthy) ? DOCTOR_OK : DOCTOR_FAIL,
		        "aggregator.health", "see the aggregator's log", "%s",
		        json_reply_text(status, "health"));
}

static void doctor_clock(
        struct doctor *doctor, const json_t *status, uint64_t asked_ns, uint64_t answered_ns)
{
	uint64_t theirs_ns = json_reply_u64(status, "unix_ns");
	if (theirs_ns == 0)
		return;
	/* It looked at its clock at some moment between our question and its answer. */
	uint64_t skew_ns = theirs_ns < asked_ns      ? asked_ns - theirs_ns
	                   : theirs_ns > answered_ns ? theirs_ns - answered_ns
	                                             : 0;
	doctor_say(doctor, skew_ns < DOCTOR_SKEW_WARN_NS ? DOCTOR_OK : DOCTOR_WARN,
	        "aggregator.clock",
	        "let both hosts keep time by NTP: intervals are found by their time",
	        "%s apart from ours", units_duration(skew_ns).text);
}

static void doctor_agents(struct doctor *doctor, const json_t *list)
{
	size_t count = json_array_size(list), silent = 0, losing = 0;
	uint64_t lost = 0;
	char who[64] = "";
	for (size_t i = 0; i < count; i++) {
		const json_t *agent = json_array_get(list, i);
		uint64_t its_lost = agents_lost(agent, NULL);
		lost += its_lost;
		losing += its_lost > 0;
		if (json_reply_u64(agent, "lag_ns") <= AGENTS_SILENT_NS)
			continue;
		if (silent++ == 0)
			snprintf(who, sizeof(who), "%s", json_reply_text(agent, "host"));
	}
	doctor_say(doctor, count ? DOCTOR_OK : DOCTOR_WARN, "agents.reporting",
	        "start one: profleet-agent --aggregator ADDRESS", "%zu known", count);
	if (silent)
		doctor_say(doctor, DOCTOR_WARN, "agents.silent",
		        "look at the agent's log on that host; `profleet agents` lists them",
		        "%zu for over a minute, %s first", silent, who);
	else
		doctor_say(doctor, DOCTOR_OK, "agents.silent", "", "none");
	doctor_say(doctor, losing ? DOCTOR_WARN : DOCTOR_OK, "agents.losses",
	        "`profleet agents` names the reasons; see docs/operating",
	        "%s samples lost by %zu agents", units_count(lost).text, losing);
}

static void doctor_aggregator(struct doctor *doctor, const struct doctor_args *args)
{
	AUTO(client) client = NULL;
	struct json_reply reply;
	uint64_t asked_ns = clock_unix_ns(clock_real());
	int code = client_open(&args->shared, &client);
	if (code == 0)
		code = json_reply_ask(
		        client, &(struct wire_query){ .question = WIRE_ASK_STATUS }, &reply);
	uint64_t answered_ns = clock_unix_ns(clock_real());
	if (code) {
		doctor_say(doctor, DOCTOR_FAIL, "aggregator.reachable",
		        "start one with: profleet-aggregator --data DIR, or name it by --server",
		        "%s: no answer",
		        client ? client_address(client) : "the address makes no sense");
		return;
	}

	const json_t *status = json_object_get(reply.root, "status");
	const char *program = json_reply_text(status, "program");
	const char *version = strrchr(program, ' ');
	bool same = version && strcmp(version + 1, PROFLEET_VERSION) == 0;
	doctor_say(doctor, DOCTOR_OK, "aggregator.reachable", "", "%s, up for %s",
	        client_address(client), units_duration(json_reply_u64(status, "uptime_ns")).text);
	doctor_say(doctor, same ? DOCTOR_OK : DOCTOR_WARN, "aggregator.version",
	        "use the same version on both sides, the aggregator first",
	        "%s; this is profleet %s", *program ? program : "unknown", PROFLEET_VERSION);
	doctor_clock(doctor, status, asked_ns, answered_ns);
	doctor_store(doctor, status);
	json_reply_fini(&reply);

	code = json_reply_ask(client, &(struct wire_query){ .question = WIRE_ASK_AGENTS }, &reply);
	if (code) {
		doctor_say(doctor, DOCTOR_FAIL, "agents.reporting", "see the aggregator's log",
		        "the list could not be had");
		return;
	}
	doctor_agents(doctor, json_object_get(reply.root, "agents"));
	json_reply_fini(&reply);
}

static uint32_t doctor_count(const struct doctor *doctor, enum doctor_state state)
{
	uint32_t count = 0;
	for (uint32_t i = 0; i < doctor->count; i++)
		count += doctor->findings[i].state == state;
	return count;
}

static int doctor_put_table(
        const struct doctor *doctor, const struct output *output, struct buf *to)
{
	static const char *const colors[] = { "32", "33", "31" };
	static const struct text_column columns[] = {
		{ "", TEXT_LEFT, 0, false },
		{ "check", TEXT_LEFT, 0, false },
		{ "found", TEXT_LEFT, 0, false },
	};
	AUTO(text_table) table = text_table_new(columns, COUNT_OF(columns));
	if (!table)
		return -ENOMEM;
	for (uint32_t i = 0; i < doctor->count; i++) {
		const struct doctor_finding *finding = &doctor->findings[i];
		text_table_put(table, doctor_states[finding->state]);
		text_table_color(table, colors[finding->state]);
		text_table_put(table, finding->check);
		text_table_put(table, finding->found);
		if (!*finding->remedy)
			continue;
		text_table_put(table, "");
		text_table_put(table, "");
		text_table_printf(table, "-> %s", finding->remedy);
	}
	text_table_print(table, 0, output->color, to);
	buf_printf(to, "\n%u ok, %u to look at, %u failed\n", doctor_count(doctor, DOCTOR_OK),
	        doctor_count(doctor, DOCTOR_WARN), doctor_count(doctor, DOCTOR_FAIL));
	return 0;
}

static void doctor_put_json(const struct doctor *doctor, struct buf *to)
{
	struct json_writer json = json_writer_of(to, true);
	json_object_begin(&json);
	json_key_u64(&json, "schema_version", 1);
	json_key_text(&json, "verb", "doctor");
	json_key(&json, "checks");
	json_array_begin(&json);
	for (uint32_t i = 0; i < doctor->count; i++) {
		const struct doctor_finding *finding = &doctor->findings[i];
		json_object_begin(&json);
		json_key_text(&json, "check", finding->check);
		json_key_text(&json, "state", doctor_states[finding->state]);
		json_key_text(&json, "found", finding->found);
		json_key_text(&json, "remedy", finding->remedy);
		json_object_end(&json);
	}
	json_array_end(&json);
	json_object_end(&json);
	buf_put_u8(to, '\n');
}

static int cmd_doctor_run(void *opaque, const struct option_args *words)
{
	(void)words;
	const struct doctor_args *args = opaque;
	struct output output = output_of(&args->shared, args->out);
	struct doctor doctor = { .count = 0 };
	AUTO_BUF text = { 0 };

	doctor_kernel(&doctor);
	doctor_capabilities(&doctor);
	doctor_settings(&doctor);
	if (!args->host_only)
		doctor_aggregator(&doctor, args);

	if (output_format_of(doctor_formats[args->format]) == FORMAT_JSON)
		doctor_put_json(&doctor, &text);
	else if (doctor_put_table(&doctor, &output, &text) < 0)
		text.failed = true;
	bool failed = doctor_count(&doctor, DOCTOR_FAIL) > 0;
	return output_deliver(&output, &text, failed ? EXIT_CODE_FAILED : EXIT_CODE_OK);
}

const struct command cmd_doctor = {
	.name = "doctor",
	.table = &doctor_table,
	.args_size = sizeof(struct doctor_args),
	.run = cmd_doctor_run,
};
