# profleet_protobuf(FOLDER): FOLDER/NAME.proto -> <build>/FOLDER/NAME.pb-c.[ch], included by FOLDER
# as "FOLDER/NAME.pb-c.h". Generated code is compiled without our warnings.

function(profleet_protobuf folder)
	file(GLOB protos CONFIGURE_DEPENDS ${CMAKE_SOURCE_DIR}/${folder}/*.proto)
	if(NOT protos)
		return()
	endif()
	find_program(PROFLEET_PROTOC_C NAMES protoc-c)
	if(NOT PROFLEET_PROTOC_C)
		message(FATAL_ERROR "${folder}/*.proto needs protoc-c: run deploy/install-deps")
	endif()

	file(MAKE_DIRECTORY ${CMAKE_BINARY_DIR}/${folder})
	set(generated)
	foreach(proto IN LISTS protos)
		get_filename_component(name ${proto} NAME_WE)
		set(stem ${CMAKE_BINARY_DIR}/${folder}/${name}.pb-c)
		add_custom_command(
			OUTPUT ${stem}.c ${stem}.h
			COMMAND ${PROFLEET_PROTOC_C} --proto_path=${CMAKE_SOURCE_DIR}
				--c_out=${CMAKE_BINARY_DIR} ${folder}/${name}.proto
			DEPENDS ${proto}
			COMMENT "Protobuf: ${folder}/${name}.pb-c.h"
			VERBATIM)
		list(APPEND generated ${stem}.c)
	endforeach()

	add_library(profleet-${folder}-protobuf STATIC ${generated})
	target_include_directories(profleet-${folder}-protobuf SYSTEM PUBLIC ${CMAKE_BINARY_DIR})
	target_link_libraries(profleet-${folder}-protobuf PUBLIC PkgConfig::protobufc)

	profleet_part_target(${folder} target compiles)
	if(compiles)
		target_link_libraries(${target} PRIVATE profleet-${folder}-protobuf)
	endif()
endfunction()
