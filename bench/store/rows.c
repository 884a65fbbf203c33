/* One pass over the fleet, tick by tick; rows are kept as the sessions' batches had them. */

#include "bench/store/rows.h"

#include <errno.h>

#include "bench/fleet_number.h"
#include "bench/store/say.h"

#define ROWS_SESSION_SLOTS 6 /* instances on a host */
#define ROWS_STACKS_MAX    (1u << 27)

static struct dict_limits rows_limits(void)
{
	struct dict_limits limits = dict_limits_default;
	limits.nodes = limits.frames = limits.strings = 1u << 27;
	limits.string_bytes = UINT64_C(1) << 32;
	return limits;
}

uint64_t rows_end_ns(const struct rows *rows)
{
	return rows->start_ns + rows->ticks * rows->tick_ns;
}

uint32_t rows_stacks(const struct rows *rows)
{
	return id_map_count(rows->stacks);
}

uint64_t rows_stacks_of_sessions(const struct rows *rows)
{
	uint64_t count = 0;
	for (uint32_t i = 0; i < rows->sessions_count; i++)
		for (uint32_t node = 0; node < rows->sessions[i].stacks_capacity; node++)
			count += rows->sessions[i].stacks[node] != 0;
	return count;
}

uint64_t rows_mix(uint32_t stack, uint64_t value)
{
	return fleet_mix(fleet_mix(1, stack), value);
}

struct rows_sum rows_expect(
        const struct rows *rows, uint32_t service, uint32_t but, uint64_t from_ns, uint64_t to_ns)
{
	struct rows_sum sum = { 0 };
	autofree uint64_t *values = say_alloc(rows_stacks(rows), sizeof(*values));
	for (uint32_t i = 0; i < rows->sections_count; i++) {
		const struct rows_section *section = &rows->sections[i];
		const uint32_t *stacks = rows->sessions[section->session].stacks;
		uint64_t at_ns = rows->start_ns + section->tick * rows->tick_ns;
		if (section->service != service || at_ns < from_ns || at_ns >= to_ns)
			continue;
		for (uint32_t n = 0; n < section->reports_count; n++) {
			const struct rows_report *report =
			        &rows->reports[section->reports_first + n];
			const struct rows_row *row = &rows->rows[report->first];
			for (uint32_t k = 0; report->number != but && k < report->count; k++)
				values[stacks[row[k].node] - 1] += row[k].value;
		}
	}
	for (uint32_t stack = 0; stack < rows_stacks(rows); stack++) {
		if (!values[stack])
			continue;
		sum.stacks++;
		sum.value += values[stack];
		sum.mix += rows_mix(stack, values[stack]);
	}
	return sum;
}

static void rows_note_stack(struct rows *rows, struct rows_session *session, uint32_t node)
{
	session->stacks = say_grow(session->stacks, &session->stacks_capacity, (uint64_t)node + 1,
	        sizeof(*session->stacks));
	if (session->stacks[node])
		return;
	uint32_t number;
	bool is_added;
	SAY_OR_DIE(id_map_intern(
	        rows->stacks, dict_node_hash(session->dict, node), &number, &is_added));
	session->stacks[node] = number + 1;
}

static uint32_t rows_note_series(struct rows *rows, struct rows_session *session, uint32_t series,
        const struct fleet_instance *instance)
{
	session->series = say_grow(session->series, &session->series_capacity, (uint64_t)series + 1,
	        sizeof(*session->series));
	if (!session->series[series]) {
		rows->series = say_grow(rows->series, &rows->series_capacity,
		        (uint64_t)rows->series_count + 1, sizeof(*rows->series));
		rows->series[rows->series_count++] = *instance;
		session->series[series] = rows->series_count;
	}
	return session->series[series] - 1;
}

static void rows_add_report(struct rows *rows, struct rows_session *session,
        const struct batch *batch, const struct fleet_instance *instance)
{
	uint32_t series = batch->coverage[0].series;
	rows->reports = say_grow(rows->reports, &rows->reports_capacity,
	        (uint64_t)rows->reports_count + 1, sizeof(*rows->reports));
	rows->rows = say_grow(rows->rows, &rows->rows_capacity,
	        rows->rows_count + batch->rows_count, sizeof(*rows->rows));
	rows->reports[rows->reports_count++] = (struct rows_report){
		.series = series,
		.number = rows_note_series(rows, session, series, instance),
		.first = rows->rows_count,
		.count = batch->rows_count,
	};
	for (uint32_t i = 0; i < batch->rows_count; i++) {
		rows_note_stack(rows, session, batch->rows[i].node);
		rows->rows[rows->rows_count++] = (struct rows_row){
			.node = batch->rows[i].node,
			.value = (uint32_t)batch->rows[i].value,
		};
	}
}

static void rows_add_slot(struct rows *rows, struct fleet_observer **observers,
        struct batch **batches, uint64_t tick, uint32_t slot)
{
	struct fleet_report report;
	uint32_t number = slot / ROWS_SESSION_SLOTS;
	struct batch *batch = batches[number];
	SAY_OR_DIE(fleet_report(rows->fleet, tick, slot, &report));
	batch_reset(batch);
	SAY_OR_DIE(fleet_observer_put(observers[number], &report, batch));
	SAY_OR_DIE(batch_settle(batch));

	struct rows_section *last = rows->sections_count ? &rows->sections[rows->sections_count - 1]
	                                                 : NULL;
	if (!last || last->tick != tick || last->session != number ||
	        last->service != report.instance.service) {
		rows->sections = say_grow(rows->sections, &rows->sections_capacity,
		        (uint64_t)rows->sections_count + 1, sizeof(*rows->sections));
		last = &rows->sections[rows->sections_count++];
		*last = (struct rows_section){ .tick = tick,
			.session = number,
			.service = report.instance.service,
			.reports_first = rows->reports_count };
	}
	last->reports_count++;
	rows_add_report(rows, &rows->sessions[number], batch, &report.instance);
}

struct rows *rows_make(struct rows_options options)
{
	struct rows *rows = say_alloc(1, sizeof(*rows));
	rows->fleet = fleet_new(options.fleet);
	rows->stacks = id_map_new(ROWS_STACKS_MAX);
	SAY_OR_DIE(rows->fleet && rows->stacks ? 0 : -ENOMEM);
	rows->ticks = fleet_ticks(rows->fleet);
	rows->tick_ns = options.tick_ns;
	rows->start_ns = options.fleet.start_ns;

	uint32_t slots = fleet_slots(rows->fleet);
	uint32_t sessions = (slots + ROWS_SESSION_SLOTS - 1) / ROWS_SESSION_SLOTS;
	rows->sessions_count = sessions;
	rows->sessions = say_alloc(sessions, sizeof(*rows->sessions));
	autofree struct fleet_observer **observers = say_alloc(
	        sessions, sizeof(struct fleet_observer *));
	autofree struct batch **batches = say_alloc(sessions, sizeof(struct batch *));
	for (uint32_t i = 0; i < sessions; i++) {
		rows->sessions[i].dict = dict_new(rows_limits());
		SAY_OR_DIE(rows->sessions[i].dict ? 0 : -ENOMEM);
		observers[i] = fleet_observer_new(
		        rows->fleet, rows->sessions[i].dict, FLEET_ADDRESSES);
		batches[i] = batch_new(rows->sessions[i].dict);
		SAY_OR_DIE(observers[i] && batches[i] ? 0 : -ENOMEM);
	}
	for (uint64_t tick = 0; tick < rows->ticks; tick++)
		for (uint32_t slot = 0; slot < slots; slot++)
			rows_add_slot(rows, observers, batches, tick, slot);
	for (uint32_t i = 0; i < sessions; i++) {
		fleet_observer_free(observers[i]);
		batch_free(batches[i]);
	}
	return rows;
}

void rows_free(struct rows *rows)
{
	for (uint32_t i = 0; i < rows->sessions_count; i++) {
		dict_free(rows->sessions[i].dict);
		free(rows->sessions[i].stacks);
		free(rows->sessions[i].series);
	}
	free(rows->sessions);
	free(rows->sections);
	free(rows->reports);
	free(rows->rows);
	free(rows->series);
	id_map_free(rows->stacks);
	fleet_free(rows->fleet);
	free(rows);
}

void rows_fill(const struct rows *rows, const struct rows_section *section, uint64_t shift_ns,
        struct batch *batch)
{
	batch_reset(batch);
	batch->start_ns = rows->start_ns + section->tick * rows->tick_ns + shift_ns;
	batch->duration_ns = FLEET_REPORT_NS;
	for (uint32_t i = 0; i < section->reports_count; i++) {
		const struct rows_report *report = &rows->reports[section->reports_first + i];
		const struct rows_row *row = &rows->rows[report->first];
		for (uint32_t n = 0; n < report->count; n++)
			SAY_OR_DIE(batch_add_row(batch, report->series, row[n].node, row[n].value));
		SAY_OR_DIE(batch_add_coverage(batch, report->series, FLEET_REPORT_NS));
	}
	SAY_OR_DIE(batch_settle(batch));
}
