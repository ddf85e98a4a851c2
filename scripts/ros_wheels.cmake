# SPDX-License-Identifier: Apache-2.0
# ROS 2 wheels export include folders of the machine they were built on; CMake stops at them. Dropped here, deferred to
# the end of the project: cmake -DCMAKE_PROJECT_INCLUDE=<this file>. A ROS distribution does not need it.
function(_ros_wheels_drop_foreign_includes)
  get_directory_property(targets IMPORTED_TARGETS)
  foreach(target IN LISTS targets)
    get_target_property(includes ${target} INTERFACE_INCLUDE_DIRECTORIES)
    if(includes MATCHES "/opt/python/")
      list(FILTER includes EXCLUDE REGEX "^/opt/python/")
      set_property(TARGET ${target} PROPERTY INTERFACE_INCLUDE_DIRECTORIES "${includes}")
    endif()
  endforeach()
endfunction()
cmake_language(DEFER CALL _ros_wheels_drop_foreign_includes)

# rclpy needs the C interfaces only: without the C++ ones they compile in half the time.
macro(_ros_wheels_only_c name access value)
  if("${access}" STREQUAL "MODIFIED_ACCESS" AND "${value}" MATCHES "_cpp:")
    list(FILTER ${name} EXCLUDE REGEX "^rosidl_(generator|typesupport|typesupport_introspection|typesupport_fastrtps)_cpp:")
  endif()
endmacro()
variable_watch(AMENT_EXTENSIONS_rosidl_generate_idl_interfaces _ros_wheels_only_c)
