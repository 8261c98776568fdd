//! The linear map against plain loops in f64.

mod common;
use common::*;
use undiffuse_kernels::activation::Activation;
use undiffuse_kernels::linear::{self, Input, Linear};

fn check(rows: usize, c_in: usize, c_out: usize) {
    for (of_picture, activation) in [(1, Activation::Identity), (3, Activation::GeluTanh), (rows, Activation::Silu)] {
        if rows.is_multiple_of(of_picture) {
            check_activated(rows, c_in, c_out, of_picture, activation);
        }
    }
}

fn check_activated(rows: usize, c_in: usize, c_out: usize, of_picture: usize, activation: Activation) {
    let shape = Linear { rows, c_in, c_out };
    let (x, weight, bias) = (numbers(1, rows * c_in), numbers(2, c_out * c_in), numbers(3, c_out));
    let dy = numbers(4, rows * c_out);
    let input = Input { x: &x, activation };
    let x64: Vec<f64> = wide(&x).into_iter().map(|x| activated(activation, x)).collect();
    let (w64, dy64) = (wide(&weight), wide(&dy));
    let mut y64: Vec<f64> = (0..dy.len()).map(|i| f64::from(bias[i % c_out])).collect();
    let (mut dx64, mut dw64, mut db64) = (vec![0.0; x.len()], vec![0.0; weight.len()], vec![0.0; c_out]);
    for r in 0..rows {
        for o in 0..c_out {
            db64[o] += dy64[r * c_out + o];
            for i in 0..c_in {
                y64[r * c_out + o] += x64[r * c_in + i] * w64[o * c_in + i];
                dx64[r * c_in + i] += dy64[r * c_out + o] * w64[o * c_in + i];
                dw64[o * c_in + i] += dy64[r * c_out + o] * x64[r * c_in + i];
            }
        }
    }
    dx64.iter_mut().zip(&x).for_each(|(dx, x)| *dx *= slope(activation, f64::from(*x)));
    let (mut y, mut dx, mut dw, mut db) = (unset(dy.len()), unset(x.len()), unset(weight.len()), unset(c_out));
    linear::forward(&shape, input, &weight, Some(&bias), &mut y);
    linear::backward_data(&shape, input, &dy, &weight, &mut dx);
    linear::backward_weight(&shape, of_picture, input, &dy, &mut dw, Some(&mut db));
    for (got, truth, what) in [(&y, &y64, "y"), (&dx, &dx64, "dx"), (&dw, &dw64, "dw"), (&db, &db64, "db")] {
        assert_close(got, truth, 1e-5, &format!("{what} of {shape:?}"));
    }
}

#[test]
fn all_small_sizes() {
    for rows in [1, 2, 3, 5, 13, 16, 31] {
        for c_in in [1, 7, 16, 33] {
            for c_out in [1, 15, 32, 50] {
                check(rows, c_in, c_out);
            }
        }
    }
}

#[test]
fn larger_sizes() {
    check(97, 130, 64);
    check(500, 64, 130);
    check(1, 512, 256);
    check(2048, 48, 48);
}

#[test]
fn without_inputs_there_is_the_bias() {
    let shape = Linear { rows: 3, c_in: 0, c_out: 2 };
    let mut y = unset(6);
    linear::forward(&shape, &[][..], &[], Some(&[1.0, 2.0]), &mut y);
    assert_eq!(y, [1.0, 2.0, 1.0, 2.0, 1.0, 2.0]);
}

#[test]
fn at_lower_levels() {
    pass_at_lower_levels();
}
