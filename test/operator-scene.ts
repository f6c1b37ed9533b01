/** What tests of the operator on a real API server share: one control plane a file, a namespace and an operator for each test. */
import { after, before, type TestContext } from 'node:test';
import type { StatusCondition } from '../crds/walstorage.generated.ts';
import type { WalStorage } from '../operator/kubernetes.ts';
import { ControlPlane } from './cluster/control-plane.ts';
import { Namespace, type OperatorRunOptions, RunningOperator } from './running-operator.ts';

export class OperatorScene {
  readonly #prefix: string;
  #plane: ControlPlane | undefined;
  #namespacesMade = 0;

  /**
   * Before the tests of the file a control plane with controller-manager and our CRD starts; after them it ends.
   * @param prefix of the namespaces' names
   */
  constructor(prefix: string) {
    this.#prefix = prefix;
    before(async () => {
      this.#plane = await ControlPlane.start({ withControllers: true });
      await this.#plane.installCrd();
    });
    after(async () => this.#plane?.stop());
  }

  get plane(): ControlPlane {
    if (this.#plane === undefined) throw new Error('the control plane starts before the first test');
    return this.#plane;
  }

  /** A namespace of the test's own. */
  async namespace(t: TestContext): Promise<Namespace> {
    this.#namespacesMade += 1;
    return await namespaceFor(t, this.plane, `${this.#prefix}-${this.#namespacesMade}`);
  }

  /** An operator of one namespace that runs until the test ends, or until it is stopped. */
  operator(t: TestContext, namespace: Namespace, more: Partial<OperatorRunOptions> = {}): RunningOperator {
    const running = new RunningOperator(this.plane, { namespaces: [namespace.name], ...more });
    t.after(() => running.stop());
    return running;
  }
}

/** A namespace of that name for one test. */
export async function namespaceFor(t: TestContext, plane: ControlPlane, name: string): Promise<Namespace> {
  const namespace = await Namespace.create(plane, name);
  t.after(() => namespace.close());
  return namespace;
}

/** The condition of that type, undefined where the status has none. */
export function condition({ status }: WalStorage, type: string): StatusCondition | undefined {
  return status?.conditions?.find((found) => found.type === type);
}
