#pragma once

/*
 * group_frames is what --by means where stacks are shown: the values of the labels become the
 * outermost frame of every stack, such as region="eu",version="2", so that a tree or a flame graph
 * parts there first, and whatever it is written as says so too.
 */

#include "query/source.h"

/*
 * Gives each side of a source that was asked for by labels such stacks, also where they were cut.
 * What nobody asked to group stays as it is. 0, or an exit code after complaining.
 */
int group_frames(const struct source_request *request, struct source *source);
