# profleet_part(FOLDER [PARTS folder...] [LINKS library...] [PROGRAM name])
#
# Makes FOLDER/*.c the static library profleet-FOLDER. PARTS are the folders its headers may
# include, LINKS the foreign libraries its files call. With PROGRAM, FOLDER/main.c stays out of the
# library, so that tests can link it, and becomes the program.
#
# A folder without a .c file yet is an empty library: links to it mean nothing, and nothing breaks.

add_custom_target(programs COMMENT "everything that gets installed")

function(profleet_part folder)
	cmake_parse_arguments(part "" "PROGRAM" "PARTS;LINKS" ${ARGN})
	set(target profleet-${folder})
	# The library must not take the name of the program.
	if(part_PROGRAM STREQUAL target)
		set(target profleet-${folder}-part)
	endif()
	list(TRANSFORM part_PARTS PREPEND "profleet::")

	file(GLOB sources CONFIGURE_DEPENDS ${CMAKE_SOURCE_DIR}/${folder}/*.c)
	list(REMOVE_ITEM sources ${CMAKE_SOURCE_DIR}/${folder}/main.c)
	if(sources)
		add_library(${target} STATIC ${sources})
		target_include_directories(${target} PUBLIC ${CMAKE_SOURCE_DIR})
		target_link_libraries(${target}
			PUBLIC ${part_PARTS}
			PRIVATE ${part_LINKS} profleet::warnings)
		add_dependencies(programs ${target})
	else()
		add_library(${target} INTERFACE)
		target_include_directories(${target} INTERFACE ${CMAKE_SOURCE_DIR})
		target_link_libraries(${target} INTERFACE ${part_PARTS})
	endif()
	add_library(profleet::${folder} ALIAS ${target})

	file(GLOB main CONFIGURE_DEPENDS ${CMAKE_SOURCE_DIR}/${folder}/main.c)
	if(part_PROGRAM AND main)
		add_executable(${part_PROGRAM} ${main})
		target_link_libraries(${part_PROGRAM} PRIVATE profleet::${folder} profleet::warnings)
		add_dependencies(programs ${part_PROGRAM})
		install(TARGETS ${part_PROGRAM} RUNTIME DESTINATION ${CMAKE_INSTALL_BINDIR})
	endif()
endfunction()

# The real target behind profleet::FOLDER, and whether it has anything to compile.
function(profleet_part_target folder ret_target ret_compiles)
	get_target_property(target profleet::${folder} ALIASED_TARGET)
	get_target_property(type ${target} TYPE)
	set(${ret_target} ${target} PARENT_SCOPE)
	if(type STREQUAL "STATIC_LIBRARY")
		set(${ret_compiles} TRUE PARENT_SCOPE)
	else()
		set(${ret_compiles} FALSE PARENT_SCOPE)
	endif()
endfunction()
