/** What `walstorage verify` prints for people. */
import { styleText } from 'node:util';
import type { Finding } from '../verify/finding.ts';
import type { ComponentReport, DirectoryReport, Holdings } from '../verify/verification.ts';
import type { SectionSettings, Setting } from './settings.ts';

export interface VerificationReport {
  readonly config: string;
  readonly ok: boolean;
  readonly renderedBy: string | undefined;
  readonly sections: readonly SectionSettings[];
  readonly components: readonly ComponentReport[];
  readonly findings: readonly Finding[];
}

type Style = Parameters<typeof styleText>[0];

/** The text; coloured where `stream` is a terminal that shows colours. */
export function describeVerification(report: VerificationReport, stream: NodeJS.WritableStream): string {
  const paint = (style: Style, text: string) => styleText(style, text, { stream, validateStream: true });
  const by = report.renderedBy === undefined ? '' : ` (rendered by operator ${report.renderedBy})`;
  const lines = [
    `${paint('bold', 'Configuration')} ${report.config}${by}`,
    ...report.sections.flatMap((section) => describeSection(section, paint)),
    ...report.components.flatMap((component) => ['', ...describeComponent(component, paint)]),
    '',
    ...describeFindings(report.findings, paint),
  ];
  return `${lines.join('\n')}\n`;
}

type Paint = (style: Style, text: string) => string;

function describeSection({ found, settings }: SectionSettings, paint: Paint): string[] {
  const names = settings.map(({ keyPath }) => keyPath.slice(keyPath.lastIndexOf('.') + 1));
  const width = Math.max(...names.map((name) => name.length));
  const lines = settings.map(
    (setting, index) => `    ${(names[index] ?? '').padEnd(width)}  ${describeSetting(setting, paint)}`,
  );
  return [`  ${found} found`, ...lines];
}

function describeSetting({ keyPath, value, isDefault }: Setting, paint: Paint): string {
  if (typeof value === 'object') return `${value.length} ${value.length === 1 ? 'URL' : 'URLs'}`;
  const isBytes = keyPath.endsWith('_bytes') || keyPath.endsWith('_threshold');
  const size = isBytes && typeof value === 'number' ? ` (${binarySize(value)})` : '';
  return `${value}${size}${isDefault ? paint('dim', '  default') : ''}`;
}

function describeComponent({ component, directories, total }: ComponentReport, paint: Paint): string[] {
  const lines = directories.flatMap((directory) => [
    `  Directory ${directory.index}  ${directory.url}`,
    `    ${describeDirectory(directory, component === 'wal', paint)}`,
  ]);
  return [paint('bold', component), ...lines, `  Total: ${describeHoldings(total, component === 'wal')}`];
}

function describeDirectory(directory: DirectoryReport, isWal: boolean, paint: Paint): string {
  if (directory.state === 'absent') return paint('dim', 'not made yet');
  if (directory.state === 'unread') return paint('red', 'cannot be read: see below');
  return describeHoldings(directory, isWal);
}

function describeHoldings(
  { collections, files, bytes, entries, journalFiles, journalBytes }: Holdings,
  isWal: boolean,
): string {
  const size = bytes < 1024 ? counted(bytes, 'byte') : `${counted(bytes, 'byte')} (${binarySize(bytes)})`;
  const stored = [counted(collections, 'collection')];
  if (!isWal) return [...stored, counted(files, 'file'), size].join(', ');
  const journal = `journal: ${counted(journalFiles, 'file')}, ${counted(journalBytes, 'byte')}`;
  stored.push(counted(files, 'WAL file'), size, counted(entries, 'entry', 'entries'));
  return `${stored.join(', ')}; ${journal}`;
}

function describeFindings(findings: readonly Finding[], paint: Paint): string[] {
  const wrong = findings.filter(({ level }) => level === 'wrong');
  const notes = findings.filter(({ level }) => level === 'note');
  const list = (style: Style, word: string, some: readonly Finding[]) =>
    some.map(({ where, problem, remedy }) => `  ${paint(style, word)} ${where}: ${problem}${remedy && `; ${remedy}`}`);
  const verdict =
    wrong.length === 0 ? paint('green', 'Nothing is wrong.') : paint('red', `${counted(wrong.length, 'problem')}:`);
  return [verdict, ...list('red', 'wrong', wrong), ...list('yellow', 'note', notes)];
}

function counted(count: number, one: string, many = `${one}s`): string {
  return `${count.toLocaleString('en-US')} ${count === 1 ? one : many}`;
}

/** A number of bytes in the largest binary unit that it fills. */
function binarySize(bytes: number): string {
  const units = ['B', 'KiB', 'MiB', 'GiB', 'TiB'];
  const power = bytes < 1024 ? 0 : Math.min(units.length - 1, Math.floor(Math.log2(bytes) / 10));
  return `${(bytes / 1024 ** power).toFixed(power === 0 ? 0 : 2)} ${units[power] ?? ''}`;
}
