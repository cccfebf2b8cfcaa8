//! Plots as SVG files.

use std::error::Error;
use std::path::Path;

use plotters::prelude::{
    ChartBuilder, Color, IntoDrawingArea, IntoLogRange, LineSeries, PathElement, RGBColor,
    Rectangle, SVGBackend, Text, TextStyle, WHITE,
};
use plotters::style::text_anchor::{HPos, Pos, VPos};

/// What a plot returns.
type Outcome = Result<(), Box<dyn Error>>;

const BLUE: RGBColor = RGBColor(40, 100, 170);
const GRAY: RGBColor = RGBColor(90, 90, 90);
const FONT: &str = "sans-serif";

/// Draws bars from 1, the baseline, on a logarithmic scale: to the right is faster.
///
/// # Errors
///
/// If the file cannot be written.
pub(crate) fn bars(bars: &[(String, f64)], path: &Path) -> Outcome {
    const WIDTH: i32 = 1_000;
    const LABELS: i32 = 600;
    const BAR: i32 = 22;
    /// Pixels for a factor of ten.
    const TENFOLD: f64 = 120.0;
    /// The place of the ratio 1.
    const BASE: i32 = LABELS + 90;
    let height = BAR * (i32::try_from(bars.len())? + 2);
    let size = (u32::try_from(WIDTH)?, u32::try_from(height)?);
    let area = SVGBackend::new(path, size).into_drawing_area();
    area.fill(&WHITE)?;
    let style = |h| {
        TextStyle::from((FONT, 13))
            .color(&GRAY)
            .pos(Pos::new(h, VPos::Center))
    };
    let title = "times as fast as the baseline (its line: 1), logarithmic";
    area.draw(&Text::new(title, (LABELS, BAR / 2), style(HPos::Left)))?;
    for (index, (name, ratio)) in (1..).zip(bars) {
        let middle = BAR * index + BAR / 2;
        let end = BASE + pixels(ratio.log10().clamp(-0.7, 2.3) * TENFOLD);
        let corners = [(BASE.min(end), middle - 8), (BASE.max(end), middle + 8)];
        let color = if *ratio >= 1.0 { BLUE } else { GRAY };
        area.draw(&Rectangle::new(corners, color.filled()))?;
        area.draw(&Text::new(
            name.clone(),
            (LABELS - 8, middle),
            style(HPos::Right),
        ))?;
        let number = crate::report::factor(*ratio);
        area.draw(&Text::new(
            number,
            (BASE.max(end) + 6, middle),
            style(HPos::Left),
        ))?;
    }
    let line = vec![(BASE, BAR), (BASE, height - BAR)];
    area.draw(&PathElement::new(line, GRAY))?;
    Ok(area.present()?)
}

#[expect(clippy::cast_possible_truncation, reason = "a place on a small plot")]
fn pixels(place: f64) -> i32 {
    place.round() as i32
}

/// Draws a curve with logarithmic axes.
///
/// # Errors
///
/// If the file cannot be written.
pub(crate) fn curve(title: &str, x: &str, y: &str, points: &[(f64, f64)], path: &Path) -> Outcome {
    let area = SVGBackend::new(path, (520, 300)).into_drawing_area();
    area.fill(&WHITE)?;
    let range = |of: fn(&(f64, f64)) -> f64| {
        let numbers = points.iter().map(of).filter(|number| *number > 0.0);
        let (low, high) = numbers.fold((f64::MAX, f64::MIN_POSITIVE), |(low, high), number| {
            (low.min(number), high.max(number))
        });
        (low / 1.5)..(high * 1.5)
    };
    let mut chart = ChartBuilder::on(&area)
        .caption(title, (FONT, 15))
        .margin(10)
        .x_label_area_size(35)
        .y_label_area_size(70)
        .build_cartesian_2d(
            range(|point| point.0).log_scale(),
            range(|point| point.1).log_scale(),
        )?;
    chart
        .configure_mesh()
        .x_desc(x)
        .y_desc(y)
        .x_label_formatter(&|number| crate::report::short(*number))
        .y_label_formatter(&|number| crate::report::short(*number))
        .draw()?;
    chart.draw_series(LineSeries::new(
        points.iter().copied(),
        BLUE.stroke_width(2),
    ))?;
    Ok(area.present()?)
}
