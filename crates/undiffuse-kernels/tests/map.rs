//! Maps against their definition.

mod common;

use common::*;
use undiffuse_kernels::map;

/// Planes are taken apart by the formula `map[n, c / 16, pixel, c % 16] = planes[n, c, pixel]`.
#[test]
fn channels_are_lanes() {
    for batch in [0, 1, 3] {
        for channels in [1, 3, 5, 15, 16, 17, 48, 130] {
            for pixels in [1, 2, 3, 15, 16, 17, 49, 256, 1089] {
                let planes = numbers(1, batch * channels * pixels);
                let mut lanes = vec![0.0; batch * channels.div_ceil(16) * pixels * 16];
                assert_eq!(map::len(batch, channels, pixels), lanes.len());
                for (i, x) in planes.iter().enumerate() {
                    let (n, c, pixel) = (i / (channels * pixels), i / pixels % channels, i % pixels);
                    lanes[((n * channels.div_ceil(16) + c / 16) * pixels + pixel) * 16 + c % 16] = *x;
                }
                let mut got = unset(lanes.len());
                map::from_planes(&planes, channels, pixels, &mut got);
                assert_eq!(got, lanes, "{batch} images of {channels} channels and {pixels} pixels");
                let mut back = unset(planes.len());
                map::to_planes(&got, channels, pixels, &mut back);
                assert_eq!(back, planes, "{batch} images of {channels} channels and {pixels} pixels");
                let mut tokens = unset(planes.len());
                map::to_tokens(&got, channels, pixels, &mut tokens);
                for (i, x) in tokens.iter().enumerate() {
                    let (n, pixel, c) = (i / (channels * pixels), i / channels % pixels, i % channels);
                    assert_eq!(*x, planes[(n * channels + c) * pixels + pixel]);
                }
                let mut back = unset(lanes.len());
                map::from_tokens(&tokens, channels, pixels, &mut back);
                assert_eq!(back, lanes, "{batch} images of {channels} channels and {pixels} pixels");
            }
        }
    }
}

#[test]
#[should_panic(expected = "map: length")]
fn a_map_of_another_length_is_refused() {
    map::from_planes(&[0.0; 12], 3, 4, &mut [0.0; 48]);
}

#[test]
#[should_panic(expected = "whole number of images")]
fn part_of_an_image_is_refused() {
    map::from_planes(&[0.0; 13], 3, 4, &mut [0.0; 64]);
}

#[test]
fn at_lower_levels() {
    pass_at_lower_levels();
}
