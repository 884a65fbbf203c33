/*
 * profleet-agent: samples this machine and ships what it saw, until a signal.
 *
 *	main        signals only
 *	collector   a thread: drains the sampler every 250 ms, closes an interval every 10 s
 *	shipper     threads of its own (agent/shipper), which also answer requests for symbols
 *	jail        a child process per symbol table (agent/symbolizer)
 *
 * Start: the side-band first, so that no process is missed, then /proc, then samples, and
 * whatever costs time while the kernel samples already. Stop: no more samples, drain what is
 * in the rings, close the interval, and give the shipper its time to deliver it.
 */

#include <errno.h>
#include <linux/capability.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <sys/syscall.h>

#include "agent/collector.h"
#include "agent/config.h"
#include "agent/identity.h"
#include "agent/local_output.h"
#include "agent/shipper.h"
#include "agent/symbolizer.h"
#include "core/log.h"
#include "core/service.h"
#include "core/version.h"

#define PROGRAM          "profleet-agent " PROFLEET_VERSION
#define DRAIN_MS         250
#define FILES_WANTED     65536
#define EXIT_OUTPUT      1
#define EXIT_MEMORY      71
#define EXIT_SPOOL       73
#define EXIT_NOT_ALLOWED 77
#define EXIT_USAGE       2

/* What SIGHUP may change, with the settings that it borrows from. */
struct agent_rules {
	struct agent_config config;
	struct labeler *labeler;
};

struct agent {
	struct agent_config config;
	struct sampler *sampler;
	struct symbol_files *files;
	struct process_table *processes;
	struct labeler *labeler;
	struct collector *collector;
	struct shipper *shipper;     /* NULL with --output */
	struct local_output *output; /* NULL without */
	int stop_fd;                 /* readable: the collector's thread ends */
	int done_fd;                 /* readable: --duration is over, main may stop */
	int mark;                    /* that this agent runs */
	pthread_t thread;
	uint64_t started_ns;
	struct agent_rules *rules;      /* of the collector's thread; NULL: as at the start */
	struct agent_rules *next_rules; /* under `lock`: read again, not taken yet */
	pthread_mutex_t lock; /* over `sampled` and `collected`, which the shipper reads */
	struct sampler_state sampled;
	struct collector_state collected;
	uint64_t batches_lost; /* samples of intervals that found no memory at their end */
};

static void agent_tell(int fd)
{
	uint64_t one = 1;

	/* An eventfd takes a 1 unless it is full, and then it is readable anyway. */
	(void)!write(fd, &one, sizeof(one));
}

/* Files of profiled programs and rings of many CPUs: as many descriptors as we are allowed. */
static void agent_raise_files(void)
{
	struct rlimit limit;

	if (getrlimit(RLIMIT_NOFILE, &limit) < 0 || limit.rlim_cur >= FILES_WANTED)
		return;
	limit.rlim_cur = limit.rlim_max < FILES_WANTED ? limit.rlim_max : FILES_WANTED;
	(void)setrlimit(RLIMIT_NOFILE, &limit);
}

static void agent_publish(struct agent *agent)
{
	struct sampler_state sampled = sampler_state(agent->sampler);
	struct collector_state collected = collector_state(agent->collector);

	(void)pthread_mutex_lock(&agent->lock);
	agent->sampled = sampled;
	agent->collected = collected;
	(void)pthread_mutex_unlock(&agent->lock);
}

static void agent_rules_free(struct agent_rules *rules)
{
	if (!rules)
		return;
	labeler_free(rules->labeler);
	agent_config_fini(&rules->config);
	free(rules);
}
DEFINE_AUTO(agent_rules);

static void agent_take_rules(struct agent *agent)
{
	(void)pthread_mutex_lock(&agent->lock);
	struct agent_rules *next = TAKE(agent->next_rules);
	(void)pthread_mutex_unlock(&agent->lock);
	if (!next)
		return;
	collector_set_labeler(agent->collector, next->labeler);
	agent_rules_free(agent->rules);
	agent->rules = next;
}

static void agent_close_interval(struct agent *agent, uint64_t until_ns)
{
	agent_take_rules(agent);
	struct batch *batch = collector_close_interval(agent->collector, until_ns);

	agent_publish(agent);
	if (!batch) {
		log_error("interval-out-of-memory", "its samples go into the next interval");
		return;
	}
	if (agent->shipper) {
		shipper_add(agent->shipper, batch);
		return;
	}
	int result = local_output_add(agent->output, batch);
	if (result < 0) {
		log_error("output-full", "an interval could not be added: %s", strerror(-result));
		agent->batches_lost += batch_samples(batch);
	}
}

/* Whatever is left in the rings belongs to the last interval. */
static void agent_flush(struct agent *agent)
{
	sampler_stop(agent->sampler);
	(void)collector_drain(agent->collector, UINT64_MAX);
	agent_close_interval(agent, clock_monotonic_ns(clock_real()));
}

static void *agent_collect(void *owner)
{
	struct agent *agent = owner;
	uint64_t interval_end_ns = agent->started_ns + agent->config.interval_ns;
	uint64_t end_ns = agent->config.duration_ns ? agent->started_ns + agent->config.duration_ns
	                                            : UINT64_MAX;
	struct pollfd stop = { .fd = agent->stop_fd, .events = POLLIN };
	bool failed = false;

	while (poll(&stop, 1, 0) == 0) {
		uint64_t now_ns = clock_monotonic_ns(clock_real());
		if (now_ns >= end_ns) {
			agent_tell(agent->done_fd);
			break;
		}
		uint64_t next_ns = now_ns + DRAIN_MS * NS_PER_MS;
		if (next_ns > interval_end_ns + SAMPLER_SETTLE_NS)
			next_ns = interval_end_ns + SAMPLER_SETTLE_NS;
		if (next_ns > end_ns)
			next_ns = end_ns;
		int wait_ms = next_ns > now_ns ? (int)((next_ns - now_ns) / NS_PER_MS) + 1 : 0;
		(void)sampler_wait(agent->sampler, agent->stop_fd, wait_ms);

		uint64_t until_ns = clock_monotonic_ns(clock_real()) - SAMPLER_SETTLE_NS;
		bool ends = until_ns >= interval_end_ns;
		if (ends)
			until_ns = interval_end_ns;
		int result = collector_drain(agent->collector, until_ns);
		if (result < 0 && !failed)
			log_warn("drain-failed", "reading samples: %s", strerror(-result));
		failed = result < 0;
		if (!ends)
			continue;
		agent_close_interval(agent, until_ns);
		interval_end_ns += agent->config.interval_ns;
		/* After a pause of the whole machine: no row of empty intervals. */
		if (interval_end_ns < until_ns)
			interval_end_ns = until_ns + agent->config.interval_ns;
	}
	agent_flush(agent);
	return NULL;
}

static uint64_t agent_rss_bytes(void)
{
	unsigned long long total, resident;
	FILE *file = fopen("/proc/self/statm", "re");

	if (!file)
		return 0;
	int fields = fscanf(file, "%llu %llu", &total, &resident);
	(void)fclose(file);
	return fields == 2 ? resident * (uint64_t)sysconf(_SC_PAGESIZE) : 0;
}

static uint64_t agent_cpu_ns(void)
{
	struct rusage usage;

	if (getrusage(RUSAGE_SELF, &usage) < 0)
		return 0;
	return (uint64_t)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) * NS_PER_S +
	       (uint64_t)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) * 1000;
}

/* On the shipper's thread. */
static void agent_state(void *owner, struct wire_agent_state *state)
{
	struct agent *agent = owner;

	(void)pthread_mutex_lock(&agent->lock);
	state->hz_milli = (uint64_t)agent->sampled.hz * 1000;
	state->samples_taken = agent->sampled.taken;
	for (uint32_t reason = 0; reason <= LOSS_REASON_MAX; reason++)
		state->lost[reason] += agent->collected.lost[reason];
	(void)pthread_mutex_unlock(&agent->lock);
	state->cpu_ns = agent_cpu_ns();
	state->rss_bytes = agent_rss_bytes();
}

/* On the shipper's thread. */
static int agent_open_build_id(void *owner, const char *build_id)
{
	struct agent *agent = owner;

	return symbol_files_open(agent->files, build_id);
}

/* Labels and rules of one configuration; the environment's names are those of the start. */
static int agent_make_labeler(const struct agent *agent, const struct agent_config *config,
        struct labeler **ret_labeler, char *ret_error, size_t error_bytes)
{
	struct labeler_options options = {
		.labels = config->labels,
		.environ_service = agent->config.environ_service,
		.environ_version = agent->config.environ_version,
		.environ_labels = agent->config.environ_labels,
		.relabel = config->relabel.rules,
		.relabel_count = config->relabel.count,
	};

	if (agent->config.host && agent->config.host[0])
		snprintf(options.host, sizeof(options.host), "%s", agent->config.host);
	else if (gethostname(options.host, sizeof(options.host) - 1) < 0)
		snprintf(options.host, sizeof(options.host), "localhost");
	return labeler_new(options, ret_labeler, ret_error, error_bytes);
}

static int agent_open_labeler(struct agent *agent)
{
	char error[512] = "";
	const char *file = agent->config.config;
	int result = agent_make_labeler(
	        agent, &agent->config, &agent->labeler, error, sizeof(error));

	if (result == 0)
		return 0;
	fprintf(stderr, "profleet-agent: %s%s%s\n", file ? file : "", file ? ": " : "",
	        result == -ENOMEM ? "out of memory" : error);
	return result == -ENOMEM ? EXIT_MEMORY : EXIT_USAGE;
}

/* SIGHUP. What cannot be read leaves everything as it was. */
static void agent_reload(struct agent *agent, int argc, char **argv)
{
	char error[512] = "out of memory";
	AUTO(agent_rules) rules = calloc(1, sizeof(*rules));

	if (!agent->config.config) {
		log_info("reload-nothing", "no --config was given: nothing to read again");
		return;
	}
	int result = rules ? options_init(&agent_option_table, &rules->config) : -ENOMEM;
	if (result == 0)
		result = options_reload(&agent_option_table, agent->config.config, argc, argv,
		        &rules->config, error, sizeof(error));
	if (result == 0)
		result = agent_make_labeler(
		        agent, &rules->config, &rules->labeler, error, sizeof(error));
	if (result < 0) {
		log_error("reload-failed", "%s: everything stays as it was", error);
		return;
	}
	log_set_level((enum log_level)rules->config.log_level);
	(void)pthread_mutex_lock(&agent->lock);
	agent_rules_free(agent->next_rules);
	agent->next_rules = TAKE(rules);
	(void)pthread_mutex_unlock(&agent->lock);
	log_info("reloaded", "%s", agent->config.config);
}

static int agent_open_sampler(struct agent *agent)
{
	char error[512] = "";
	struct sampler_options options = {
		.tier = (enum sampler_tier)agent->config.tier,
		.event = (enum sampler_event)agent->config.event,
		.hz = agent->config.hz,
	};
	int result = sampler_open(options, &agent->sampler, error, sizeof(error));

	if (result == 0)
		return 0;
	log_error("sampling-not-possible", "%s", result == -ENOMEM ? "out of memory" : error);
	return result == -ENOMEM ? EXIT_MEMORY : EXIT_NOT_ALLOWED;
}

static int agent_open_output(struct agent *agent)
{
	char error[512] = "";

	if (!agent->config.output)
		return 0;
	int result = local_output_open(
	        agent->config.output, agent->files, &agent->output, error, sizeof(error));
	if (result == 0)
		return 0;
	fprintf(stderr, "profleet-agent: --output %s\n", error);
	return result == -EINVAL ? EXIT_USAGE : EXIT_OUTPUT;
}

static int agent_open_shipper(struct agent *agent)
{
	char error[512] = "";
	char host[128] = "localhost";

	if (agent->output)
		return 0;
	if (agent->config.host && agent->config.host[0])
		snprintf(host, sizeof(host), "%s", agent->config.host);
	else
		(void)gethostname(host, sizeof(host) - 1);
	struct shipper_options options = {
		.address = agent->config.aggregator,
		.host = host,
		.program = PROGRAM,
		.tenant = agent->config.tenant,
		.epoch = identity_epoch(),
		.spool_path = agent->config.spool,
		.spool_bytes_max = agent->config.spool_bytes,
		.spool_memory_bytes_max = agent->config.spool_memory_bytes,
		.callbacks = {
			.owner = agent,
			.state = agent_state,
			.open_build_id = agent_open_build_id,
		},
	};
	(void)identity_uuid(agent->config.state_dir, NULL, &options.uuid);
	bool killed = false;
	agent->mark = identity_running(agent->config.state_dir, &killed);
	if (killed)
		log_warn("agent-was-killed",
		        "the agent before this one did not end by itself: what it had neither "
		        "delivered nor spooled is lost, and not counted");
	int result = shipper_new(options, &agent->shipper, error, sizeof(error));
	if (result == 0)
		return 0;
	log_error("spool-unusable", "%s", result == -ENOMEM ? "out of memory" : error);
	return result == -ENOMEM ? EXIT_MEMORY : EXIT_SPOOL;
}

static bool agent_has_right(int capability)
{
	struct __user_cap_header_struct header = { .version = _LINUX_CAPABILITY_VERSION_3 };
	struct __user_cap_data_struct sets[2] = { { 0 }, { 0 } };

	if (syscall(SYS_capget, &header, sets) < 0)
		return true; /* Not known: nothing is said to be missing. */
	return sets[CAP_TO_INDEX(capability)].effective & CAP_TO_MASK(capability);
}

/* What sampling can do without, and what it then cannot tell. Each is said once, with its remedy.
 */
static void agent_say_rights(void)
{
	if (!agent_has_right(CAP_SYS_PTRACE))
		log_warn("processes-hidden",
		        "what other users' processes had mapped before now is hidden, so their "
		        "frames are called [unmapped]; grant CAP_SYS_PTRACE");
	if (!agent_has_right(CAP_CHECKPOINT_RESTORE) && !agent_has_right(CAP_SYS_ADMIN))
		log_warn("deleted-files-hidden",
		        "files that were deleted before now are hidden, so their functions have no "
		        "names; grant CAP_CHECKPOINT_RESTORE");
	if (!agent_has_right(CAP_DAC_READ_SEARCH) && !agent_has_right(CAP_DAC_OVERRIDE))
		log_warn("files-unreadable",
		        "functions of programs that not everybody may read have no names; grant "
		        "CAP_DAC_READ_SEARCH");
}

/* Cheap checks first, then the sampler, then what costs time while samples are taken already. */
static int agent_open(struct agent *agent)
{
	int status = agent_open_labeler(agent);

	agent->files = symbol_files_new((struct symbol_files_options){ 0 });
	agent->stop_fd = eventfd(0, EFD_CLOEXEC);
	agent->done_fd = eventfd(0, EFD_CLOEXEC);
	if (status == 0 && (!agent->files || agent->stop_fd < 0 || agent->done_fd < 0))
		status = EXIT_MEMORY;
	if (status == 0)
		status = agent_open_output(agent);
	if (status == 0)
		status = agent_open_sampler(agent);
	if (status != 0)
		return status;
	agent_say_rights();

	agent->processes = process_table_new((struct process_table_options){
	        .files = agent->files,
	        .reads_environ = labeler_wants_environ(agent->labeler),
	});
	if (!agent->processes)
		return EXIT_MEMORY;
	int result = process_table_scan(agent->processes);
	if (result < 0)
		log_warn("processes-unread", "/proc: %s; what runs already has no names",
		        strerror(-result));
	agent->started_ns = clock_monotonic_ns(clock_real());
	result = sampler_start(agent->sampler);
	if (result < 0) {
		log_error("sampling-not-possible", "%s", strerror(-result));
		return EXIT_NOT_ALLOWED;
	}
	struct collector_options options = {
		.sampler = agent->sampler,
		.processes = agent->processes,
		.files = agent->files,
		.labeler = agent->labeler,
		.begin_ns = agent->started_ns,
	};
	if (collector_new(options, &agent->collector) < 0)
		return EXIT_MEMORY;
	agent_publish(agent);
	return agent_open_shipper(agent);
}

static void agent_close(struct agent *agent)
{
	shipper_free(agent->shipper);
	local_output_free(agent->output);
	collector_free(agent->collector);
	process_table_free(agent->processes);
	labeler_free(agent->labeler);
	agent_rules_free(agent->rules);
	agent_rules_free(agent->next_rules);
	sampler_free(agent->sampler);
	symbol_files_free(agent->files);
	if (agent->stop_fd >= 0)
		(void)close(agent->stop_fd);
	if (agent->done_fd >= 0)
		(void)close(agent->done_fd);
}

/* "ring_full 3, spool_full 7", or "none". */
static void agent_describe_losses(
        const uint64_t lost[LOSS_REASON_MAX + 1], char *ret_text, size_t text_bytes)
{
	size_t at = 0;

	snprintf(ret_text, text_bytes, "none");
	for (uint32_t reason = 0; reason <= LOSS_REASON_MAX; reason++) {
		if (lost[reason] == 0 || at >= text_bytes)
			continue;
		const char *name = loss_reason_name(reason);
		at += (size_t)snprintf(ret_text + at, text_bytes - at, "%s%s %llu", at ? ", " : "",
		        name ? name : "other", (unsigned long long)lost[reason]);
	}
}

static int agent_finish_output(struct agent *agent)
{
	char error[512] = "";
	char losses[256];
	const struct batch *batch = local_output_batch(agent->output);

	if (local_output_finish(agent->output, error, sizeof(error)) < 0) {
		fprintf(stderr, "profleet-agent: %s\n", error);
		return EXIT_OUTPUT;
	}
	agent_describe_losses(agent->collected.lost, losses, sizeof(losses));
	printf("%s: %llu samples at %u Hz on %u CPUs in %.1f s; lost: %s; unfinished stacks: "
	       "%llu\n",
	        agent->config.output, (unsigned long long)batch_samples(batch), agent->sampled.hz,
	        agent->sampled.cpus, (double)batch->duration_ns / 1e9, losses,
	        (unsigned long long)agent->collected.truncated);
	return agent->batches_lost ? EXIT_OUTPUT : 0;
}

/* One line in which every sample has its place: taken + inherited = sent + spooled + lost. */
static int agent_finish_shipping(struct agent *agent)
{
	char losses[256];
	uint64_t lost[LOSS_REASON_MAX + 1];
	uint64_t undelivered = shipper_stop(agent->shipper, agent->config.stop_timeout_ns);
	struct shipper_state shipped = shipper_state(agent->shipper);

	for (uint32_t reason = 0; reason <= LOSS_REASON_MAX; reason++)
		lost[reason] = agent->collected.lost[reason] + shipped.lost[reason];
	agent_describe_losses(lost, losses, sizeof(losses));
	log_info("agent-summary",
	        "samples_taken=%llu samples_inherited=%llu samples_sent=%llu "
	        "samples_spooled=%llu "
	        "samples_undelivered=%llu "
	        "lost: %s",
	        (unsigned long long)agent->sampled.taken,
	        (unsigned long long)shipped.samples_inherited,
	        (unsigned long long)shipped.samples_sent, (unsigned long long)shipped.spool.samples,
	        (unsigned long long)undelivered, losses);
	return 0;
}

static int agent_run(struct agent *agent, int argc, char **argv)
{
	char status[64];

	snprintf(status, sizeof(status), "%s %u", sampler_tier_name(agent->sampled.tier),
	        agent->sampled.hz);
	log_info("sampling", "tier %s, %u Hz on %u CPUs", sampler_tier_name(agent->sampled.tier),
	        agent->sampled.hz, agent->sampled.cpus);
	int result = pthread_create(&agent->thread, NULL, agent_collect, agent);
	if (result != 0) {
		log_error("no-thread", "%s", strerror(result));
		return EXIT_MEMORY;
	}
	service_ready(agent->config.ready_fd ? (int)agent->config.ready_fd : -1, status);

	/* A finished --duration is looked for often enough, and costs nothing while there is none.
	 */
	struct pollfd done = { .fd = agent->done_fd, .events = POLLIN };
	int wait_ms = agent->config.duration_ns ? 50 : -1;
	while (poll(&done, 1, 0) == 0) {
		enum service_event event = service_wait(wait_ms);
		if (event == SERVICE_STOP)
			break;
		if (event == SERVICE_RELOAD)
			agent_reload(agent, argc, argv);
	}
	service_stopping();
	agent_tell(agent->stop_fd);
	(void)pthread_join(agent->thread, NULL);
	return agent->output ? agent_finish_output(agent) : agent_finish_shipping(agent);
}

int main(int argc, char **argv)
{
	struct agent agent = {
		.stop_fd = -1, .done_fd = -1, .mark = -1, .lock = PTHREAD_MUTEX_INITIALIZER
	};
	int status = agent_config_read(&agent.config, argc, argv);

	if (status == 0) {
		log_setup("profleet-agent", (enum log_level)agent.config.log_level,
		        (enum log_format)agent.config.log_format);
		agent_raise_files();
		/* Before there is any thread, right or file that a captured child could inherit. */
		if (symbolizer_start() < 0)
			log_warn("symbolizer-unavailable", "it is tried again with the first file");
		status = service_init() < 0 ? EXIT_MEMORY : agent_open(&agent);
		if (status == 0)
			status = agent_run(&agent, argc, argv);
		agent_close(&agent);
		identity_stopped(agent.mark);
		symbolizer_stop();
	}
	agent_config_fini(&agent.config);
	return status < 0 ? 0 : status;
}
